"""What anybody who may look into a namespace could have read while a test went on: logs, objects, events, the store.

Pods and their logs vanish with their Jobs, so that they are followed from the moment they start.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import DynamicApiError
from urllib3.exceptions import HTTPError

from darwinmerge_operator.resource import KIND
from tests.cluster.conftest import Kubernetes
from tests.cluster.operated import Run
from tests.leaks import leaks

LOOK_SECONDS = 1.0
KINDS = ("Pod", "Job", "ConfigMap", "Event", KIND)
WHOLE_RUN = ("Pod/", "log: ", "Job/", "ConfigMap/", "Event/", f"{KIND}/", "store: ")
WHATEVER_BECOMES_OF_IT = ("ConfigMap/", f"{KIND}/")
GONE = (ApiException, DynamicApiError, HTTPError, OSError)  # the Pod, or for a while the API server


@dataclass
class Overheard:
    """Texts by where they stood."""

    kubernetes: Kubernetes
    namespace: str
    texts: dict[str, bytes] = field(default_factory=dict)
    end: threading.Event = field(default_factory=threading.Event)
    followed: dict[str, threading.Thread] = field(default_factory=dict)

    def assert_no_secret(self, run: Run, kinds: Sequence[str] = WHOLE_RUN, besides: Sequence[str] = ()) -> None:
        """No key of the store, no token, none of the secrets `besides` stands in any of it, nor in what the run stored.

        Nor is the search blind: there was something of each of these kinds to be read.
        """
        store = {f"store: {key}": run.read(key) for key in run.stored()}
        places = {**self.texts, **store}
        for kind in kinds:
            assert any(place.startswith(kind) for place in places), f"nothing of {kind} was heard: the search is blind"
        assert leaks([*besides, *(secret for _, secret in run.server.keys.values())], places) == []

    def look(self) -> None:
        """Read all objects as they are now, and begin to follow Pods that have started.

        Raises one of `GONE` if a kind can't be read.
        """
        for kind in KINDS:
            for found in self.kubernetes.list(kind, self.namespace):
                metadata = found["metadata"]
                self.texts[f"{kind}/{metadata['name']} {metadata.get('resourceVersion')}"] = repr(found).encode()
                if kind == "Pod":
                    self.follow(found)

    def follow(self, pod: dict[str, Any]) -> None:
        """Hear what a Pod's containers say, each time one is started."""
        for state in pod["status"].get("containerStatuses") or ():
            turn = f"{pod['metadata']['name']} {state['restartCount']}"
            if turn not in self.followed and (state["state"].get("running") or state["state"].get("terminated")):
                thread = threading.Thread(target=self.listen, args=(turn, pod["metadata"]["name"]), daemon=True)
                self.followed[turn] = thread
                thread.start()

    def listen(self, turn: str, name: str) -> None:
        """Keep what one container says until it ends; then how it ended."""
        core = client.CoreV1Api(config.new_client_from_config())
        with contextlib.suppress(*GONE):
            said = core.read_namespaced_pod_log(name, self.namespace, follow=True, _preload_content=False)
            for part in said.stream():
                self.texts[f"log: {turn}"] = self.texts.get(f"log: {turn}", b"") + part
                if self.end.is_set():
                    return
        with contextlib.suppress(*GONE):
            ended = core.read_namespaced_pod(name, self.namespace, _preload_content=False).data
            self.texts[f"Pod/{turn}, ended"] = json.dumps(json.loads(ended)).encode()


@contextlib.contextmanager
def overheard(kubernetes: Kubernetes, namespace: str) -> Iterator[Overheard]:
    """Listen, until the block ends."""
    found = Overheard(kubernetes, namespace)

    def listen() -> None:
        while not found.end.wait(LOOK_SECONDS):
            with contextlib.suppress(*GONE):
                found.look()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.end.set()
        thread.join()
    found.look()  # at how it ended, or at what has just begun: every kind can be read now

"""A cluster that strikes Jobs in the middle of their work: each kind of blow once, at the Job that it is meant for."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwinmerge_operator.ending import Ending, ending
from examples.by_hand import Cluster
from tests.cluster.conftest import Kubernetes

WAIT_SECONDS = 120
TOO_LITTLE = "40Mi"  # of memory, for Python with numpy and boto3

Objects = Mapping[str, str]  # ETag and time of writing, by key


@dataclass(frozen=True)
class Blow:
    """A disturbance, and what came of it."""

    job: str
    stored: Objects  # when it struck
    ending: Ending  # of the Pod that it struck


class Disturbed(Cluster):
    """Plain Jobs, with blows to some."""

    def __init__(
        self, namespace: str, kubernetes: Kubernetes, stored: Callable[[], Objects], blows: Mapping[str, str]
    ) -> None:
        """Strikes the first Job whose name has a part as in `blows`: delete, evict, starve or kill."""
        super().__init__(namespace)
        self._kubernetes, self._stored, self._meant = kubernetes, stored, dict(blows)
        self.blows: dict[str, Blow] = {}
        self.ended: dict[str, dict[str, Any]] = {}  # Jobs, as they were at their end
        self.logs: dict[str, str] = {}

    def create(self, manifest: dict[str, Any]) -> None:
        """Create a Job, and strike it if it is its turn."""
        name, before = manifest["metadata"]["name"], self._stored()
        part = next((part for part in self._meant if part in name), "")
        blow = self._meant.pop(part, "")
        if blow == "starve":
            resources = manifest["spec"]["template"]["spec"]["containers"][0]["resources"]
            resources["limits"]["memory"] = resources["requests"]["memory"] = TOO_LITTLE
        super().create(manifest)
        if not blow:
            return
        (pod,) = until(lambda: self._kubernetes.pods(name, self.namespace))
        if blow != "starve":
            until(
                lambda: len(self._scores() - self._scores(before)) >= 3 or self._pod(pod)["status"]["phase"] == "Failed"
            )
        stored, pod = self._stored(), self._pod(pod)
        strike: dict[str, Callable[[dict[str, Any]], None]] = {
            "delete": self._delete,
            "evict": self._evict,
            "kill": kill,
        }
        if blow in strike:
            strike[blow](pod)
        self.blows[blow] = Blow(name, stored, self._end_of(pod))

    def ending(self, name: str) -> Ending:
        """How a Job's last Pod ended; the Job and the log are kept."""
        self.ended[name] = self.jobs.get(name=name, namespace=self.namespace).to_dict()
        last: dict[str, Any] = self._kubernetes.pods(name, self.namespace)[-1]
        self.logs[name] = self._kubernetes.log(last["metadata"]["name"], self.namespace)
        return super().ending(name)

    def _scores(self, objects: Objects | None = None) -> set[str]:
        return {key for key in (self._stored() if objects is None else objects) if key.startswith("scores/")}

    def _pod(self, pod: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.pods.get(name=pod["metadata"]["name"], namespace=self.namespace).to_dict()
        return found

    def _delete(self, pod: dict[str, Any]) -> None:
        self.pods.delete(pod["metadata"]["name"], self.namespace)

    def _evict(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": self.namespace}}
        self.pods.subresources["eviction"].create(body, name=name, namespace=self.namespace)

    def _end_of(self, pod: dict[str, Any]) -> Ending:
        """How a Pod ended, heard before it is gone."""
        meta = pod["metadata"]
        changes = self.pods.watch(
            self.namespace, name=meta["name"], resource_version=meta["resourceVersion"], timeout=WAIT_SECONDS
        )
        for change in changes:
            if found := ending(change["raw_object"]):
                return found
        raise AssertionError(f"Pod {meta['name']} didn't end")


def kill(pod: dict[str, Any]) -> None:
    """SIGKILL the worker's process, which is a process of this machine: the cluster's one node."""
    uid = pod["metadata"]["uid"]
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = (process / "cgroup").read_text().replace("_", "-")
            ours = uid in group and b"darwin" in (process / "cmdline").read_bytes()
        except OSError:
            continue
        if ours:
            os.kill(int(process.name), signal.SIGKILL)
            killed += 1
    assert killed, "no process of the Pod on this machine: these tests want the cluster's node to be this machine"


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives, once that is something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value

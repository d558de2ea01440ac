"""The operator in a cluster, installed by its chart, and a run that it carries out; for tests."""

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from kubernetes.dynamic.exceptions import NotFoundError

from darwinmerge.pipeline.results import RESULT, Done, Summary
from darwinmerge.store.layout import CHILD_RUN, RESULTS
from darwinmerge.store.s3 import INTERNAL
from darwinmerge_operator.job import LABEL
from darwinmerge_operator.ledger import Ledger, from_data, ledger_name
from darwinmerge_operator.resource import KIND
from tests.cluster.conftest import Kubernetes, program, until
from tests.clustered import edited
from tests.integration.conftest import TIMES_AND_PLACES, World
from tests.proxy import Proxy, proxy
from tests.s3 import BUCKET, S3, free_ports

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "darwin-operator"
# the cluster's, of which tests have several releases
SHARED = ("crds.enabled=false", "rbac.aggregate=false", "metrics.dashboards.enabled=false")
RUN_SECONDS = 600  # for a run to end, on a machine that does something else besides
GPU = "nvidia.com/gpu"
Json = dict[str, Any]


@dataclass(frozen=True)
class Operator:
    """A release of the chart that serves its own namespace."""

    kubernetes: Kubernetes
    namespace: str
    release: str = "darwin"
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def install(self, operator_image: str, worker_image: str, *values: str, chart: Path = CHART) -> None:
        """Install or upgrade it, and wait until it is healthy."""
        images = {"image": operator_image, "workerImage": worker_image}
        parts = {name: image.rpartition(":") for name, image in images.items()}
        settings = [f"{name}.repository={whole},{name}.tag={tag}" for name, (whole, _, tag) in parts.items()]
        settings += [f"port={self.port}", f"watchNamespaces={{{self.namespace}}}", *SHARED, *values]
        flags = [part for setting in settings for part in ("--set", setting)]
        program("helm", "upgrade", "--install", self.release, chart, *flags, *self._there("120s"))

    def uninstall(self) -> None:
        program("helm", "uninstall", self.release, *self._there("60s"))

    def _there(self, patience: str) -> list[str]:
        return ["--namespace", self.namespace, "--wait", "--timeout", patience]

    def scale(self, replicas: int) -> None:
        """Take it away, or bring it back."""
        (found,) = self.kubernetes.list("Deployment", self.namespace, label_selector=self._selector)
        self.kubernetes.of("Deployment").patch(
            {"spec": {"replicas": replicas}},
            found["metadata"]["name"],
            self.namespace,
            content_type="application/merge-patch+json",
        )
        until(lambda: len(self.pods()) == replicas)

    def pods(self) -> list[Json]:
        found = self.kubernetes.list("Pod", self.namespace, label_selector=self._selector)
        return [pod for pod in found if pod["status"]["phase"] in ("Pending", "Running")]

    def restarts(self) -> int:
        """How often its container was started again."""
        states = [state for pod in self.pods() for state in pod["status"].get("containerStatuses") or []]
        return sum(state["restartCount"] for state in states)

    def log(self) -> str:
        return "".join(self.kubernetes.log(pod["metadata"]["name"], self.namespace) for pod in self.pods())

    @property
    def _selector(self) -> str:
        return f"app.kubernetes.io/instance={self.release}"


@dataclass(frozen=True)
class Run:
    """One DarwinMerge, its bucket, and what a test asks of them."""

    kubernetes: Kubernetes
    namespace: str
    server: S3
    document: Json

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def prefix(self) -> str:
        """Of the store's keys."""
        return str(self.document["spec"]["store"]["uri"]).removeprefix(f"s3://{BUCKET}/") + "/"

    def apply(self) -> None:
        """As `kubectl apply` of the manifest would first do."""
        self.kubernetes.of(KIND).create(self.document, self.namespace)

    def by_kubectl(self, verb: str, *flags: str, **spec: Any) -> None:
        """`kubectl apply` the manifest with another `spec`, as from git; or `diff` it, which mustn't find anything."""
        document = edited(self.document, {("spec", *name.split("__")): value for name, value in spec.items()})
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(document, file)
            file.flush()
            program("kubectl", verb, *flags, "--namespace", self.namespace, "--filename", file.name)

    def patch(self, spec: Json | None = None, annotations: Mapping[str, str] | None = None) -> None:
        """Change the spec, or the annotations."""
        body = {"spec": spec or {}, "metadata": {"annotations": dict(annotations or {})}}
        self.kubernetes.of(KIND).patch(body, self.name, self.namespace, content_type="application/merge-patch+json")

    def found(self) -> Json:
        """The resource, now."""
        found: Json = self.kubernetes.of(KIND).get(name=self.name, namespace=self.namespace).to_dict()
        return found

    def status(self) -> Json:
        status: Json = self.found().get("status") or {}
        return status

    def condition(self, kind: str) -> Json:
        """A condition that is true; empty where it isn't."""
        conditions = self.status().get("conditions") or []
        return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), {})

    def ledger(self) -> Ledger:
        """What the operator remembers of it."""
        found = self.kubernetes.of("ConfigMap").get(name=ledger_name(self.name), namespace=self.namespace).to_dict()
        return from_data(found["binaryData"]) or Ledger()

    def jobs(self) -> Sequence[Json]:
        return self._mine("Job")

    def running(self, stage: str = "") -> list[Json]:
        """Pods that run now, of Jobs whose name has `stage` in it."""
        return [
            pod
            for pod in self.pods()
            if stage in pod["metadata"]["name"]
            and pod["status"]["phase"] == "Running"
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def pods(self) -> Sequence[Json]:
        return self._mine("Pod")

    def leaving(self, pod: Json) -> bool:
        """Whether a Pod is deleted and not gone, or gone."""
        mine = {one["metadata"]["uid"]: one["metadata"] for one in self.pods()}
        return "deletionTimestamp" in mine.get(pod["metadata"]["uid"], {"deletionTimestamp": ""})

    def left(self) -> list[Json]:
        """What is there that was made for it."""
        return [one for kind in ("Job", "Pod", "ConfigMap") for one in self._mine(kind)]

    def servers(self) -> list[Json]:
        """The Deployment and the Service of its child, as far as they are there."""
        selector = f"{LABEL}/serves={self.name}"
        found = [
            self.kubernetes.list(kind, self.namespace, label_selector=selector) for kind in ("Deployment", "Service")
        ]
        return [one for several in found for one in several]

    def _mine(self, kind: str) -> Sequence[Json]:
        return self.kubernetes.list(kind, self.namespace, label_selector=f"{LABEL}/experiment={self.name}")

    def wait(self, kind: str, seconds: float = RUN_SECONDS) -> Json:
        """Wait for a condition to become true, or for the run to end some other way."""

        def settled() -> Json:
            ends = [self.condition(one) for one in (kind, "Complete", "Failed")]
            return next((end for end in ends if end), {})

        found = until(settled, seconds, 0.3)
        assert found["type"] == kind, f"{found['type']}: {found['reason']}: {found['message']}"
        return found

    def events(self) -> list[Json]:
        """The run's story, the oldest first."""
        query = f"involvedObject.uid={self.found()['metadata']['uid']}"
        found = self.kubernetes.list("Event", self.namespace, field_selector=query)
        return sorted(found, key=lambda event: event["lastTimestamp"])

    @cached_property
    def bucket(self) -> Any:
        """A client that may do everything."""
        return self.server.client()

    def stored(self) -> dict[str, str]:
        """ETag and time of writing, by key."""
        pages = self.bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=self.prefix)
        found = [one for page in pages for one in page.get("Contents", [])]
        return {one["Key"].removeprefix(self.prefix): f"{one['ETag']} {one['LastModified']}" for one in found}

    def read(self, key: str) -> bytes:
        return bytes(self.bucket.get_object(Bucket=BUCKET, Key=self.prefix + key)["Body"].read())

    def summaries(self) -> list[Summary]:
        """Of all tasks that are done, as they lie in the store."""
        found = [RESULT.validate_json(self.read(key)) for key in self.stored() if key.startswith(RESULTS)]
        return [one.summary for one in found if isinstance(one, Done)]

    def lasting(self) -> dict[str, bytes]:
        """What must be the same wherever the experiment is run, byte for byte."""
        apart = (*TIMES_AND_PLACES, INTERNAL, "staged/")
        keys = [key for key in self.stored() if not key.startswith(apart) and not key.endswith(CHILD_RUN)]
        return {key: self.read(key) for key in keys}

    def delete(self) -> None:
        """Delete it, and wait until it is gone."""
        self.kubernetes.of(KIND).delete(self.name, self.namespace)
        until(self.gone)

    def gone(self) -> bool:
        try:
            self.found()
        except NotFoundError:
            return True
        return False


def document(world: World, server: S3, place: str) -> Json:
    """The experiment of a folder on this machine as a cluster's, in a store of its own."""
    found: Json = yaml.safe_load(world.manifest.read_text())
    spec = found["spec"]
    spec["parents"] = {who: {"uri": f"s3://{BUCKET}/parents/{who}"} for who in ("father", "mother")}
    spec["store"] = {"uri": f"s3://{BUCKET}/runs/{place}"}
    spec["evaluation"]["taskFolder"] = "/mnt/tasks"
    spec["cluster"] = {
        "parallelism": 2,
        "store": {"credentialsSecret": {"name": "s3"}, "endpoint": server.endpoint},
        "template": {
            "resources": {"limits": {"memory": "2Gi"}, "requests": {"cpu": "250m"}},
            "volumes": [{"name": "tasks", "configMap": {"name": "tasks"}}],
            "volumeMounts": [{"name": "tasks", "mountPath": "/mnt/tasks", "readOnly": True}],
        },
    }
    return found


def with_gpus(run: Run, **cluster: Any) -> Run:
    """The run, whose benchmarks hold a GPU each, which they don't use, and nothing else of it does."""
    share = {"limits": {GPU: 1, "memory": "2Gi"}, "requests": {"cpu": "250m"}}
    run.document["spec"]["cluster"].update({"device": "cpu", "stages": {"eval": {"resources": share}}, **cluster})
    return run


@contextmanager
def storing(run: Run) -> Iterator[Proxy]:
    """The run's Pods reach its store through a proxy, which knows what they have asked of it."""
    with proxy(run.server.endpoint) as found:
        run.document["spec"]["cluster"]["store"]["endpoint"] = found.endpoint
        yield found


def computed_twice(run: Run, store: Proxy) -> list[str]:
    """Pieces of evaluations, and weight files of the child, that Pods have brought to the store more than once.

    What stands there stays as it is, whoever brings it again: only the requests tell.
    """
    place = f"^PUT /{BUCKET}/{re.escape(run.prefix)}"
    stored = any(key.startswith("scores/") for key in run.stored())
    assert store.count(f"{place}scores/") or not stored, "no Pod has gone through the proxy: the search is blind"
    return store.repeated(rf"{place}(scores/|children/.*\.safetensors)")


def kill(pod: Json) -> None:
    """SIGKILL a Pod's processes, which are processes of this machine: the cluster's one node."""
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

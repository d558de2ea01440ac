"""A real Kubernetes, the images in it, two namespaces, and what tests ask of them.

Nothing here knows where the cluster comes from. Tests that run Pods need a cluster whose Pods reach this machine's
loopback, where the tests' S3 listens: one node on this machine, its Pods on the host's network.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError

from darwinmerge_operator.crd import crd
from darwinmerge_operator.resource import GROUP, KIND, VERSION
from tests.cluster.outcomes import keep, table
from tests.integration.conftest import World, darwin, make_world
from tests.s3 import BUCKET, S3

REMEDY = {
    "KUBECONFIG": "a kubeconfig of a cluster for tests, in which namespaces come and go",
    "DARWIN_TEST_AUDIT_LOG": "the API server's audit log, a line a request, with resource and verb",
    "DARWIN_TEST_WORKER_IMAGE": "the image of Dockerfile.gpu (make images), loaded into the cluster",
    "DARWIN_TEST_OPERATOR_IMAGE": "the image of Dockerfile.operator (make images), loaded into the cluster",
    "DARWIN_CLUSTER": "a command that can kill and start a program of the cluster, as tests/kind can",
    "DARWIN_CLUSTER_DIR": "the folder by which that command knows the cluster",
    "DARWIN_TEST_KSTATUS": "a command that reads an object (JSON) and prints what kstatus makes of it: Current, ...",
}
KUEUE = "kueue.x-k8s.io/v1beta2"
T = TypeVar("T")
RESTRICTED = "pod-security.kubernetes.io/enforce"


def named(variable: str) -> str:
    """What an environment variable names; without it the test is skipped."""
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} is not set: it names {REMEDY[variable]}")
    return value


@dataclass(frozen=True)
class Kubernetes:
    """The cluster's API, in plain dictionaries."""

    kinds: Any

    def of(self, kind: str) -> Any:
        """The requests of a kind."""
        versions = {
            "Job": "batch/v1",
            "Deployment": "apps/v1",
            "CustomResourceDefinition": "apiextensions.k8s.io/v1",
            "PriorityClass": "scheduling.k8s.io/v1",
            **dict.fromkeys(("ResourceFlavor", "ClusterQueue", "LocalQueue", "Workload"), KUEUE),
            KIND: f"{GROUP}/{VERSION}",
        }
        version = versions.get(kind, "v1")
        return self.kinds.get(api_version=version, kind=kind)

    def create(self, manifest: dict[str, Any], namespace: str | None = None, dry: bool = False) -> dict[str, Any]:
        """Create an object, or only ask whether it could be; unknown fields are refused."""
        query = [("fieldValidation", "Strict"), *([("dryRun", "All")] if dry else [])]
        made: dict[str, Any] = self.of(manifest["kind"]).create(manifest, namespace, query_params=query).to_dict()
        return made

    def list(self, kind: str, namespace: str, **selectors: str) -> Sequence[dict[str, Any]]:
        """Objects of a kind, by `label_selector` or `field_selector`."""
        items: Sequence[dict[str, Any]] = self.of(kind).get(namespace=namespace, **selectors).to_dict()["items"]
        return items

    def apply(self, manifest: dict[str, Any]) -> None:
        """Create or replace an object that has no namespace."""
        name = manifest["metadata"]["name"]
        kind = self.of(manifest["kind"])
        kind.server_side_apply(manifest, name=name, field_manager="darwin-test", force_conflicts=True)

    def log(self, pod: str, namespace: str) -> str:
        """What a Pod has printed."""
        log = self.of("Pod").subresources["log"]
        return str(log.get(name=pod, namespace=namespace, serialize=False).data.decode())


@pytest.fixture(scope="session")
def kubernetes() -> Kubernetes:
    """The cluster; the test is skipped where there is none."""
    return Kubernetes(DynamicClient(config.new_client_from_config(named("KUBECONFIG"))).resources)


@pytest.fixture(scope="session")
def merges(kubernetes: Kubernetes) -> Iterator[Any]:
    """The requests of the kind DarwinMerge; the CRD is removed again, unless it was there before."""
    crds = kubernetes.of("CustomResourceDefinition")
    name = crd()["metadata"]["name"]
    try:
        crds.get(name=name)
        ours = False
    except NotFoundError:
        ours = True
    kubernetes.apply(crd())
    for event in crds.watch(name=name, timeout=60):
        conditions = {c.type: c.status for c in event["object"].status.conditions or ()}
        if conditions.get("Established") == "True":
            break
    yield until(lambda: served(kubernetes))
    if ours:
        crds.delete(name=name)


def served(kubernetes: Kubernetes) -> Any:
    """The requests of our kind, once the API server answers them: a moment after it calls the CRD established."""
    try:
        return kubernetes.of(KIND)
    except (NotFoundError, ResourceNotFoundError):
        return None


@pytest.fixture(scope="session")
def images(operator_image: str, worker_image: str) -> tuple[str, str]:
    """The operator's and the workers'."""
    return operator_image, worker_image


@pytest.fixture(scope="session")
def worker_image() -> str:
    return named("DARWIN_TEST_WORKER_IMAGE")


@pytest.fixture(scope="session")
def operator_image() -> str:
    return named("DARWIN_TEST_OPERATOR_IMAGE")


@pytest.fixture(scope="session")
def make_namespace(kubernetes: Kubernetes) -> Iterator[Callable[..., str]]:
    """Makes namespaces that go with the session."""
    made: list[str] = []

    def make(labels: dict[str, str]) -> str:
        name = f"darwin-test-{secrets.token_hex(4)}"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        kubernetes.create(manifest)
        made.append(name)
        return name

    yield make
    for name in made:
        kubernetes.of("Namespace").delete(name)


@pytest.fixture(scope="session")
def restricted(make_namespace: Callable[..., str]) -> str:
    """A namespace that takes no Pod that isn't restricted."""
    return make_namespace({RESTRICTED: "restricted"})


@pytest.fixture(scope="session")
def namespace(make_namespace: Callable[..., str]) -> str:
    """A namespace in which Pods run."""
    return make_namespace(running())


@pytest.fixture(scope="session")
def parents_in_s3(s3_server: S3, material: Path) -> S3:
    """The server, with the tiny pair in its bucket."""
    for path in (material / "parents" / "tiny-qwen35").glob("*ther/*"):
        s3_server.client().upload_file(str(path), BUCKET, f"parents/{path.parent.name}/{path.name}")
    return s3_server


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory, material: Path) -> World:
    """One generation of two children; chunks so small that an evaluation has a middle, shards so that a child has."""
    world = make_world(tmp_path_factory.mktemp("one-machine") / "world", material)
    world.edit("evolution", value={"steps": 1, "candidates": 2})
    world.edit("evaluation", "finalists", value=1)
    world.edit("evaluation", "chunk", value=2)
    world.edit("output", value={"maxShardSize": "300KB"})
    return world


@pytest.fixture(scope="session")
def on_one_machine(small_world: World) -> World:
    """The same experiment by `darwin run`."""
    run = darwin("run", small_world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    return small_world


@pytest.fixture(scope="session")
def furnished(kubernetes: Kubernetes, namespace: str, small_world: World, parents_in_s3: S3) -> str:
    """The namespace, with the Secret and the ConfigMap of the small experiment."""
    access, secret = parents_in_s3.keys["user"]
    keys = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    files = {path.name: path.read_text() for path in (small_world.folder / "tasks").iterdir()}
    for kind, name, data in (("Secret", "s3", {"stringData": keys}), ("ConfigMap", "tasks", {"data": files})):
        kubernetes.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **data}, namespace)
    return namespace


@pytest.fixture(scope="session")
def small_run(kubernetes: Kubernetes, merges: Any, furnished: str, small_world: World, parents_in_s3: S3) -> Any:
    """Makes the small experiment with a store at a place of its own; not applied yet."""
    from tests.cluster.operated import Run, document  # which needs this module

    return lambda place: Run(kubernetes, furnished, parents_in_s3, document(small_world, parents_in_s3, place))


_reports: list[pytest.TestReport] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what faults came to, after each: a session may be ended before its last one."""
    if table([report]):
        _reports.append(report)
        keep("faults.md", table(_reports))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what faults came to."""
    if shown := table(_reports):
        terminalreporter.section("faults")
        terminalreporter.write(shown)


def running() -> dict[str, str]:
    """Labels of a namespace in which Pods run, as the cluster wants them (`key=value,...`)."""
    given = os.environ.get("DARWIN_TEST_NAMESPACE_LABELS", "")
    return dict(label.split("=", 1) for label in given.split(",") if label)


def kubectl(*arguments: str | Path) -> str:
    """What kubectl prints."""
    return program("kubectl", *arguments)


def program(name: str, *arguments: str | Path) -> str:
    """What a program prints; the test is skipped where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH")
    done = subprocess.run([found, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{name} {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def until(found: Callable[[], T], seconds: float = 120, step: float = 0.05) -> T:
    """What `found` gives, once that is something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(step)
    return value

"""A real Kubernetes, the images in it, two namespaces, and what tests ask of them.

Nothing here knows where the cluster comes from. Tests that run Pods need a cluster whose Pods reach this machine's
loopback, where the tests' S3 listens: one node on this machine, its Pods on the host's network.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import config
from kubernetes.dynamic import DynamicClient

from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.orders import Order, Orders, order
from darwinmerge.pipeline.tasks import REVISIONS, ResolveInputs, Task

REMEDY = {
    "KUBECONFIG": "a kubeconfig of a cluster for tests, in which namespaces come and go",
    "DARWIN_TEST_WORKER_IMAGE": "the image of Dockerfile.gpu (make images), loaded into the cluster",
    "DARWIN_TEST_OPERATOR_IMAGE": "the image of Dockerfile.operator (make images), loaded into the cluster",
}
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
        version = {"Job": "batch/v1", "Eviction": "policy/v1"}.get(kind, "v1")
        return self.kinds.get(api_version=version, kind=kind)

    def create(self, manifest: dict[str, Any], namespace: str | None = None, dry: bool = False) -> dict[str, Any]:
        """Create an object, or only ask whether it could be; unknown fields are refused."""
        query = [("fieldValidation", "Strict"), *([("dryRun", "All")] if dry else [])]
        made: dict[str, Any] = self.of(manifest["kind"]).create(manifest, namespace, query_params=query).to_dict()
        return made

    def pods(self, job: str, namespace: str) -> list[dict[str, Any]]:
        """The Pods of a Job, the oldest first."""
        found = self.of("Pod").get(namespace=namespace, label_selector=f"batch.kubernetes.io/job-name={job}").to_dict()
        return sorted(found["items"], key=lambda pod: pod["metadata"]["creationTimestamp"])

    def log(self, pod: str, namespace: str) -> str:
        """What a Pod has printed."""
        log = self.of("Pod").subresources["log"]
        return str(log.get(name=pod, namespace=namespace, serialize=False).data.decode())


@pytest.fixture(scope="session")
def kubernetes() -> Kubernetes:
    """The cluster; the test is skipped where there is none."""
    return Kubernetes(DynamicClient(config.new_client_from_config(named("KUBECONFIG"))).resources)


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
    """A namespace in which Pods run, with the labels that the cluster wants for that (`key=value,...`)."""
    given = os.environ.get("DARWIN_TEST_NAMESPACE_LABELS", "")
    return make_namespace(dict(label.split("=", 1) for label in given.split(",") if label))


def resolve(**where: str) -> Orders:
    """The simplest orders, for parents and a store that need not be there."""
    task = Task(revision=REVISIONS["resolve"], seed=0, inputs=ResolveInputs())
    places = {"father": "s3://models/father", "mother": "s3://models/mother", "store": "s3://runs/tiny"}
    return to_do(order(task), **{**places, **where})


def to_do(*orders: Order, **where: str) -> Orders:
    return Orders(where=Bindings(**where), orders=orders)

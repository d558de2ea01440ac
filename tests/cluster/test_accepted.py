"""A real API server takes every Job and what serves a child, and a namespace that is `restricted` takes their Pods."""

import copy
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import ApiException, ForbiddenError

from darwinmerge.pipeline.orders import order
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.job import Owner, Start, job
from darwinmerge_operator.resource import from_api
from darwinmerge_operator.serving import serving
from tests.cluster.conftest import Kubernetes
from tests.clustered import full
from tests.unit.test_claims import CASES
from tests.unit.test_jobs import FINISH, OWNER, RECALL, WHERE, made, score, start
from tests.unit.test_serving import made as served

pytestmark = pytest.mark.cluster

PLACES = {"father": "pvc://models/father", "mother": "pvc://other.models/mother"}
CHOSEN = {"resources": {"limits": {"cpu": 4, "memory": "64Gi", "nvidia.com/gpu": 1}}}
LONGEST = Owner(name="x" * 36, uid=OWNER.uid)


def from_claims(**more: Any) -> Start:
    return start(order(score(1000, 47), "evaluate"), where=WHERE.model_copy(update=PLACES), **more)


JOBS = {
    "resolve": made(),
    "recall": made(RECALL),
    "finish": made(FINISH),
    "with a GPU": made(start(order(score(1, 0)))),
    "nothing said": job(start(), OWNER, Cluster(), "x:1"),
    "large parents": made(parent_bytes=140 << 30),
    "parents in volumes": made(from_claims()),
    **{f"{name}, in volumes": made(started) for name, (started, _) in CASES.items()},
    "queued": made(queueName="team"),
    "the longest name": job(from_claims(attempt=99), LONGEST, Cluster(), "x:1"),
}


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    metadata = {"name": f"{manifest['metadata']['name']}-abcde", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": manifest["spec"]["template"]["spec"]}


@pytest.mark.parametrize("manifest", JOBS.values(), ids=JOBS)
def test_every_job_is_valid_and_its_pods_are_restricted(
    kubernetes: Kubernetes, restricted: str, manifest: dict[str, Any]
) -> None:
    made = kubernetes.create(manifest, restricted, dry=True)
    assert made["metadata"]["name"] == manifest["metadata"]["name"]
    pod = kubernetes.create(pod_of(manifest), restricted, dry=True)
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_a_job_of_which_everything_is_said_is_valid(kubernetes: Kubernetes, restricted: str) -> None:
    kubernetes.create(job(start(), OWNER, from_api(full()).spec.cluster, "x:1"), restricted, dry=True)


@pytest.mark.parametrize(
    "serve",
    [{}, {"replicas": 2, "args": ["--max-model-len=8192"]}, {"uri": "pvc://models/children/tiny"}],
    ids=["plain", "more said", "from a volume"],
)
def test_what_serves_a_child_is_valid_and_its_pods_are_restricted(
    kubernetes: Kubernetes, restricted: str, serve: dict[str, Any]
) -> None:
    deployment, service = served(**serve)
    for manifest in (deployment, service):
        assert kubernetes.create(manifest, restricted, dry=True)["metadata"]["name"] == "tiny-serve"
    pod = copy.deepcopy(pod_of(deployment))
    pod["spec"]["serviceAccountName"] = "default"  # whose name is only a name to a Deployment, must be there for a Pod
    kubernetes.create(pod, restricted, dry=True)


def test_a_server_of_which_everything_is_said_is_valid(kubernetes: Kubernetes, restricted: str) -> None:
    cluster = from_api(full()).spec.cluster
    assert cluster.serve
    for manifest in serving(cluster.serve, cluster, OWNER, "0" * 16, "s3://models/child"):
        kubernetes.create(manifest, restricted, dry=True)


def test_the_namespace_does_refuse_what_is_not_restricted(kubernetes: Kubernetes, restricted: str) -> None:
    pod = copy.deepcopy(pod_of(JOBS["resolve"]))
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    with pytest.raises(ForbiddenError, match="unrestricted capabilities"):
        kubernetes.create(pod, restricted, dry=True)


def test_the_server_does_refuse_an_unknown_field(kubernetes: Kubernetes, restricted: str) -> None:
    manifest = {**JOBS["resolve"], "spec": {**JOBS["resolve"]["spec"], "retries": 3}}
    with pytest.raises(ApiException, match="unknown field"):
        kubernetes.create(manifest, restricted, dry=True)

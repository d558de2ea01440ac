"""A real API server takes every Job, and a namespace that enforces Pod Security's `restricted` takes its Pods."""

import copy
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import ApiException, ForbiddenError

from darwinmerge.pipeline.orders import order
from darwinmerge_operator.job import Owner, PodSettings, job
from tests.cluster.conftest import Kubernetes, resolve, to_do
from tests.unit.test_jobs import score

pytestmark = pytest.mark.cluster

PLACES = {"father": "pvc://models/father", "mother": "pvc://other.models/mother", "store": "s3://runs/tiny"}
POD = PodSettings(
    image="registry.example/darwin-gpu:1", gpus=1, secret="s3", environment={"AWS_REGION": "eu-central-1"}
)
OWNER = Owner(api_version="v1", kind="ConfigMap", name="tiny", uid="5c3a8f6e-0000-4000-8000-000000000000")

JOBS = {
    "resolve": job("tiny", resolve(), 1, POD),
    "cpu only": job("tiny", resolve(), 1, PodSettings(image="x:1")),
    "owned": job("tiny", resolve(), 1, POD, owner=OWNER),
    "large parents": job("tiny", resolve(), 1, POD, parent_bytes=140 << 30),
    "parents in volumes": job("tiny", resolve(**PLACES), 1, POD),
    "task files": job("tiny", resolve(task_folder="/tasks"), 1, POD.model_copy(update={"task_files": "tasks"})),
    "the longest name": job("x" * 36, to_do(order(score(1000, 47), "evaluate"), **PLACES), 99, POD),
}


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": f"{manifest['metadata']['name']}-abcde", "labels": manifest["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": manifest["spec"]["template"]["spec"]}


@pytest.mark.parametrize("manifest", JOBS.values(), ids=JOBS)
def test_every_job_is_valid_and_its_pods_are_restricted(
    kubernetes: Kubernetes, restricted: str, manifest: dict[str, Any]
) -> None:
    made = kubernetes.create(manifest, restricted, dry=True)
    assert made["metadata"]["name"] == manifest["metadata"]["name"]
    pod = kubernetes.create(pod_of(manifest), restricted, dry=True)
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_the_namespace_does_refuse_what_is_not_restricted(kubernetes: Kubernetes, restricted: str) -> None:
    pod = copy.deepcopy(pod_of(JOBS["resolve"]))
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    with pytest.raises(ForbiddenError, match="unrestricted capabilities"):
        kubernetes.create(pod, restricted, dry=True)


def test_the_server_does_refuse_an_unknown_field(kubernetes: Kubernetes, restricted: str) -> None:
    manifest = {**JOBS["resolve"], "spec": {**JOBS["resolve"]["spec"], "retries": 3}}
    with pytest.raises(ApiException, match="unknown field"):
        kubernetes.create(manifest, restricted, dry=True)

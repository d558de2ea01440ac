"""What serves a child: where its weights come from, what its Pods may do, and when they are replaced."""

from typing import Any

import pytest

from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.job import LABEL, Owner
from darwinmerge_operator.pod import QUEUE_LABEL
from darwinmerge_operator.serving import serving

OWNER = Owner(name="tiny", uid="5c3a8f6e-0000-4000-8000-000000000000")
CHILD = "s3://models/child"
CLUSTER: dict[str, Any] = {
    "store": {"credentialsSecret": {"name": "s3"}, "endpoint": "https://s3.example.org"},
    "template": {
        "resources": {"limits": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": 1}},
        "nodeSelector": {"pool": "gpu"},
        "serviceAccountName": "darwin-worker",
    },
}

Json = dict[str, Any]


def made(recipe: str = "0123456789abcdef", uri: str = CHILD, **serve: Any) -> tuple[Json, Json]:
    cluster = Cluster.model_validate({**CLUSTER, "serve": serve})
    assert cluster.serve
    return serving(cluster.serve, cluster, OWNER, recipe, uri)


def pod(**serve: Any) -> Json:
    found: Json = made(**serve)[0]["spec"]["template"]["spec"]
    return found


def container(**serve: Any) -> Json:
    (found,) = pod(**serve)["containers"]
    return dict(found)


def environment(**serve: Any) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container(**serve)["env"]}


def test_weights_are_streamed_from_where_the_child_lies() -> None:
    found = container(args=["--max-model-len=8192"])
    assert found["command"] == ["vllm", "serve"]
    assert found["args"][:2] == [CHILD, "--load-format=runai_streamer"]
    assert found["args"][-1] == "--max-model-len=8192"
    assert "--served-model-name=tiny" in found["args"]
    assert found["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert environment()["AWS_ENDPOINT_URL"] == "https://s3.example.org"


def test_a_child_on_a_claim_is_read_where_that_is_mounted_and_never_written_to() -> None:
    found = made(uri="pvc://models/my%20children/tiny")[0]["spec"]["template"]["spec"]
    (one,) = found["containers"]
    assert one["args"][0] == "/mnt/pvc/models/my children/tiny"
    (volume,) = [volume for volume in found["volumes"] if "persistentVolumeClaim" in volume]
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    (mount,) = [mount for mount in one["volumeMounts"] if mount["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == ("/mnt/pvc/models", True)


def test_its_image_is_of_a_version_and_a_person_may_choose_another() -> None:
    assert container()["image"].startswith("vllm/vllm-openai:v")
    assert container(image="registry.example/vllm@sha256:1")["image"] == "registry.example/vllm@sha256:1"


def test_it_gets_what_benchmarks_get_unless_it_has_its_own() -> None:
    assert container()["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod()["nodeSelector"] == {"pool": "gpu"}
    own = {"limits": {"nvidia.com/gpu": 4, "memory": "200Gi"}}
    assert container(resources=own)["resources"]["limits"] == {**own["limits"], "cpu": "2"}


def test_it_is_placed_as_benchmarks_are_and_in_their_queue() -> None:
    placed: dict[str, Any] = {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    }
    mirror = {"name": "HF_ENDPOINT", "value": "https://hub.example"}
    online = {"name": "HF_HUB_OFFLINE", "value": "0"}
    cluster = Cluster.model_validate(
        {
            **CLUSTER,
            "serve": {},
            "queueName": "gpus",
            "priorityClassName": "late",
            "stages": {"eval": {"env": [online], "priorityClassName": "soon"}},
            "template": {**CLUSTER["template"], **placed, "env": [mirror]},
        }
    )
    assert cluster.serve
    deployment, service = serving(cluster.serve, cluster, OWNER, "0" * 16, CHILD)
    found = deployment["spec"]["template"]["spec"]
    assert {name: found[name] for name in placed} == placed
    assert found["priorityClassName"] == "soon"
    env = {one["name"]: one["value"] for one in found["containers"][0]["env"]}
    assert (env["HF_ENDPOINT"], env["HF_HUB_OFFLINE"]) == ("https://hub.example", "0"), "a person has the last word"
    assert deployment["metadata"]["labels"][QUEUE_LABEL] == "gpus"
    assert QUEUE_LABEL not in service["metadata"]["labels"]
    assert QUEUE_LABEL not in deployment["spec"]["selector"]["matchLabels"], "a selector can't change"


def test_the_key_that_clients_must_give_comes_from_a_secret() -> None:
    assert "VLLM_API_KEY" not in environment()
    key = {"name": "clients", "key": "token"}
    assert environment(apiKey=key)["VLLM_API_KEY"] == {"secretKeyRef": key}


def test_its_pods_satisfy_the_restricted_standard() -> None:
    found, (one,) = pod(), pod()["containers"]
    assert found["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert not found["automountServiceAccountToken"]
    assert {"emptyDir"} == {kind for volume in found["volumes"] for kind in volume if kind != "name"}


def test_both_are_the_runs_and_the_service_finds_the_pods() -> None:
    deployment, service = made()
    for found in (deployment, service):
        assert found["metadata"]["ownerReferences"] == [OWNER.reference]
        assert found["metadata"]["name"] == "tiny-serve"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert f"{LABEL}/experiment" not in labels, "the operator would take its Pods for those of Jobs"
    assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container()["ports"]}


def test_another_child_replaces_the_servers_and_the_same_one_does_not() -> None:
    templates = [made(recipe)[0]["spec"]["template"] for recipe in ("a" * 16, "a" * 16, "b" * 16)]
    assert templates[0] == templates[1] != templates[2]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_it_is_asked_whether_it_is_well(probe: str) -> None:
    assert container()[probe]["httpGet"] == {"path": "/health", "port": "http"}

"""The CRD is the one that the types say, small, described to the last field; and what it refuses, `validate` does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from darwinmerge.cli.validate import validate
from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.load import check, load, parse
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.pipeline.retry import Attempt, GiveUp, retry
from darwinmerge_operator.crd import crd, pruned, text
from darwinmerge_operator.resource import DarwinMerge, Spec, from_api
from darwinmerge_operator.status import MESSAGE_LETTERS, Condition, StalledReason
from tests.clustered import BAD, edited, full, longest_status, small

ROOT = Path(__file__).parents[2]
FILE = ROOT / "crds" / "darwinmerges.darwinmerge.io.yaml"
LAST_APPLIED_BYTES = 262_144  # of an object's annotations, the whole object as client-side apply keeps it included
YAML_BOOLEANS = {"y", "n", "yes", "no", "on", "off", "true", "false"}  # in the YAML 1.1 of kubectl, in any case
Json = dict[str, Any]


def schema() -> Json:
    found: Json = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


def merge(document: Json) -> DarwinMerge:
    return check(document, "merge", DarwinMerge)


def mistakes(document: Json) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        merge(document)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_the_file_is_what_the_types_say() -> None:
    assert FILE.read_text() == text(), "make crd"


def test_it_is_small_enough_for_client_side_apply() -> None:
    assert len(text().encode()) < 128 * 1024
    assert len(json.dumps(crd())) < LAST_APPLIED_BYTES / 2


def test_every_field_is_described() -> None:
    unsaid = [
        f"{path}.{name}"
        for path, node in nodes(schema())
        for name, inner in node.get("properties", {}).items()
        if not inner.get("description") and f"{path}.{name}" != ".metadata"
    ]
    assert unsaid == []


def test_a_description_says_the_default() -> None:
    mri = schema()["properties"]["spec"]["properties"]["mri"]["properties"]
    assert mri["weight"]["description"].endswith("Default: 0.7.")
    assert mri["kinds"]["description"].endswith("Default: the naming of Llama, Qwen and their relatives.")


def test_no_field_is_called_what_yaml_takes_for_a_boolean() -> None:
    names = {name for _, node in nodes(schema()) for name in node.get("properties", {})}
    words = {str(word) for _, node in nodes(schema()) for word in node.get("enum", [])} - {"True", "False"}
    assert {name for name in names | words if name.lower() in YAML_BOOLEANS} == set()


def test_the_server_fills_in_nothing_but_that_nobody_has_looked() -> None:
    defaults = {path: node["default"] for path, node in nodes(schema()) if "default" in node}
    assert defaults == {".status": {"observedGeneration": -1}, ".status.observedGeneration": -1}


def test_the_full_manifest_has_every_field() -> None:
    """Or tests that go through it would leave out some."""

    def missing(node: Json, found: list[Any], path: str) -> Iterator[str]:
        for name, inner in node.get("properties", {}).items():
            below = [one[name] for one in found if name in one]
            if not below:
                yield f"{path}.{name}"
            items = [item for one in below for item in one] if "items" in inner else below
            yield from missing(inner.get("items", inner), items, f"{path}.{name}")

    assert list(missing(schema()["properties"]["spec"], [full()["spec"]], "spec")) == []


@pytest.mark.parametrize("name", BAD)
def test_validate_refuses_a_bad_manifest_and_names_the_place(name: str) -> None:
    bad = BAD[name]
    places = [line.partition(": ")[0] for line in mistakes(edited(small(), bad.edits))]
    assert any(place.startswith(bad.field) for place in places), places
    assert all(place.startswith(bad.field) or bad.field.startswith(place) for place in places)


def test_there_are_bad_manifests_enough() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("document", [small(), full()], ids=["small", "full"])
def test_validate_takes_a_good_manifest(document: Json) -> None:
    assert merge(document).metadata.name == document["metadata"]["name"]


def test_the_published_experiment_is_for_a_cluster_too() -> None:
    assert isinstance(load(ROOT / "examples" / "darwin-9b-opus.yaml", DarwinMerge), DarwinMerge)


def test_a_decimal_may_have_an_exponent_as_for_kubectl() -> None:
    plain = yaml.safe_dump(small(), sort_keys=False)
    assert parse(plain + "  search: {sigma0: 3e-1}\n", "merge", DarwinMerge).spec.search.sigma0 == 0.3
    with pytest.raises(BadConfiguration, match="sigma0"):
        parse(plain + '  search: {sigma0: "3e-1"}\n', "merge", DarwinMerge)


def test_validate_asks_for_more_with_cluster() -> None:
    laptop = str(ROOT / "examples" / "smollm2.yaml")
    assert CliRunner().invoke(validate, [laptop]).exit_code == 0
    refused = CliRunner().invoke(validate, ["--cluster", laptop]).exception
    assert isinstance(refused, BadConfiguration)
    assert "5 mistakes" in str(refused)


def test_the_engine_is_told_the_same_experiment_on_a_laptop_and_in_a_cluster() -> None:
    document = small() | {"spec": {**small()["spec"], "cluster": {"backoffLimit": 4, "device": "cuda"}}}
    inside = merge(document).experiment()
    outside = check(document, "merge", Manifest).spec
    assert inside.spec == outside.model_copy(update={"cluster": {}})
    assert (inside.where.device, inside.where.store, inside.limits.attempts) == ("cuda", "s3://runs/small", 5)


def test_fields_of_a_newer_crd_are_not_seen_and_all_others_are() -> None:
    newer = full()["spec"]
    newer["mri"]["future"] = newer["cluster"]["template"]["env"][0]["future"] = newer["future"] = "as before"
    assert pruned(newer, Spec) == full()["spec"]


def test_what_an_api_server_adds_is_no_part_of_the_experiment() -> None:
    found = small() | {"status": {"observedGeneration": -1}}
    found["metadata"] |= {"namespace": "team", "uid": "1", "generation": 1, "managedFields": [{"manager": "kubectl"}]}
    assert from_api(found).metadata.namespace == "team"


@pytest.mark.parametrize(
    ("stage", "limits"),
    [("score", {"cpu", "nvidia.com/gpu"}), ("eval", {"cpu", "nvidia.com/gpu"})]
    + [(stage, {"cpu"}) for stage in ("resolve", "mri", "search", "merge", "export", "health", "recall")],
)
def test_benchmarks_get_the_gpu_and_other_stages_get_none(stage: str, limits: set[str]) -> None:
    template = {"spec.cluster.template.resources.limits": {"nvidia.com/gpu": 1, "cpu": 4}}
    assert set(merge(edited(small(), template)).spec.cluster.pod_of(stage).resources.limits) == limits


def test_a_stage_that_says_so_gets_a_gpu() -> None:
    stage = {"spec.cluster.stages.mri.resources.limits": {"nvidia.com/gpu": 1}}
    assert set(merge(edited(small(), stage)).spec.cluster.pod_of("mri").resources.limits) == {"nvidia.com/gpu"}


def test_what_is_said_of_a_stage_takes_the_place_of_the_template_and_its_variables_are_added() -> None:
    variables = [{"name": "PLAIN", "value": "2"}, {"name": "MORE", "value": "3"}]
    cluster = merge(
        edited(full(), {"spec.cluster.stages": {"mri": {"nodeSelector": {"cpu": "many"}, "env": variables}}})
    )
    pod = cluster.spec.cluster.pod_of("health")
    assert pod.node_selector == {"cpu": "many"}
    assert [(one.name, one.value) for one in pod.env] == [
        ("SECRET", None),
        ("MAPPED", None),
        ("PLAIN", "2"),
        ("MORE", "3"),
    ]
    assert (pod.tolerations, pod.priority_class_name) == (cluster.spec.cluster.template.tolerations, "low")


def test_a_condition_has_a_reason_of_its_own_list() -> None:
    with pytest.raises(ValidationError, match="Valid is no reason of Stalled"):
        Condition(type="Stalled", status="True", reason="Valid", last_transition_time="2026-01-01T00:00:00Z")


@pytest.mark.parametrize("code", set(ExitCode) - {ExitCode.OK, ExitCode.FAILED})
def test_whatever_makes_the_driver_give_up_is_a_reason_to_stall(code: ExitCode) -> None:
    limits = merge(small()).experiment().limits
    given_up = retry(limits, [Attempt(task="a", number=n, exit=code) for n in range(1, 21)])
    assert isinstance(given_up, GiveUp)
    assert given_up.reason in get_args(StalledReason)


def test_the_longest_status_is_small() -> None:
    assert len(longest_status().conditions[0].message) == MESSAGE_LETTERS
    assert len(longest_status().model_dump_json(by_alias=True)) < 17_000

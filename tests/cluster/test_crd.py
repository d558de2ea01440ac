"""The API server takes the CRD, and refuses with it what `darwin validate --cluster` refuses, in one clear line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import DynamicApiError

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.load import check
from darwinmerge_operator.crd import crd
from darwinmerge_operator.resource import DarwinMerge
from tests.cluster.conftest import kubectl, until
from tests.clustered import BAD, GONE, Where, at, edited, fields, full, longest_status, small

pytestmark = pytest.mark.cluster

FILE = Path(__file__).parents[2] / "crds" / "darwinmerges.darwinmerge.io.yaml"
DRY = [("fieldValidation", "Strict"), ("dryRun", "All")]
ECHOES = ("some validation rules were not checked", "Checked value must be of type")  # added to what is told already
CHANGES = ("can't change", "Required value")  # what it says to one who changes an experiment
Json = dict[str, Any]


@pytest.fixture(scope="module")
def place(merges: Any, make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace of this module, which leaves no run for an operator to find."""
    name = make_namespace({})
    yield name
    merges.delete(namespace=name, field_selector=f"metadata.namespace={name}")


@pytest.fixture(scope="module")
def refusal(merges: Any, place: str) -> Callable[[Json], list[str]]:
    """What the server says against creating an object; nothing if it would."""
    return lambda document: said(merges.create, document, place)


def said(request: Callable[..., Any], document: Json, namespace: str) -> list[str]:
    """What the server says against a request that it is only asked about, as kubectl shows it."""
    try:
        request(document, namespace=namespace, query_params=DRY)
    except DynamicApiError as error:
        told = json.loads(error.body)
        causes = (told.get("details") or {}).get("causes") or []
        lines = [f"{cause.get('field')}: {cause['message']}" for cause in causes] or [told["message"]]
        return [line for line in lines if not any(echo in line for echo in ECHOES)]
    return []


def mistakes(document: Json) -> list[str]:
    """What `darwin validate --cluster` says against a document."""
    try:
        check(document, "merge", DarwinMerge)
    except BadConfiguration as error:
        return str(error).splitlines()[1:]
    return []


def explained(field: str) -> str:
    """What `kubectl explain` says; nothing as long as the server doesn't publish the schema of a CRD that is new."""
    try:
        return kubectl("explain", field)
    except AssertionError:
        return ""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest_is_refused_with_one_clear_line(refusal: Callable[[Json], list[str]], name: str) -> None:
    bad = BAD[name]
    (line,) = refusal(edited(small(), bad.edits))
    assert bad.field in line
    assert bad.says in line


@pytest.mark.parametrize("document", [small(), full()], ids=["small", "full"])
def test_a_good_manifest_is_taken(refusal: Callable[[Json], list[str]], document: Json) -> None:
    assert refusal(document) == []


PROBES: tuple[Any, ...] = (
    *(-1, 0, 0.5, 1, 7, 49, 2**31, 2**53, 1e300, True),
    *["x", "0.7", "a/b", "/a", "1Gi", "é", "All", "s3://bucket/a", "s3://bucket/../a", "hf://a/b"],
    *("", "X Y", "5 GB", "\n", "x" * 70, "x" * 300, "x" * 1100, "x" * 5000),
    *([], {}, ["x"], {"x": "y"}, {"name": "a"}),
    GONE,
)
MANY = 30  # fields of a section: beyond, every other value is tried on each, by turns


@pytest.mark.parametrize("section", [s for s in full()["spec"] if s != "cluster"] + list(full()["spec"]["cluster"]))
def test_server_and_validate_agree_on_every_field_and_value(refusal: Callable[[Json], list[str]], section: str) -> None:
    document = edited(full(), {"spec.cluster.stages": {"mri": full()["spec"]["cluster"]["stages"]["mri"]}})
    below = ("spec", section) if section in document["spec"] else ("spec", "cluster", section)
    differ, places = [], [below, *fields(at(document, below), below)]
    step = 1 + (len(places) > MANY)
    for number, where in enumerate(places):
        for value in PROBES[number % step :: step]:
            changed = edited(document, {where: value})
            server, validate = refusal(changed), mistakes(changed)
            if bool(server) != bool(validate):
                differ.append((where, value, server, validate))
    assert differ == []


EXPERIMENT: list[Where] = [
    where
    for where in fields(full()["spec"], ("spec",))
    if where[1] != "cluster" and where[1:] != ("evolution", "steps")
]
OTHER = {
    "Published": "Neutral",
    "Genetic": "CMAES",
    "DareTies": "DareTies",  # none of the others has all parameters
    "L1": "None",
    "Float32": "Float32",  # Source goes with no base
    "bfloat16": "Father",
    "Keep": "Fail",
    "float32": "float16",
    "All": "Best",
    "Candidates": "Finals",
    "attention": "ffn",
    "2GB": "3GB",
    "BeatsBoth": "NotWorse",
}


def other(value: Any) -> Any:
    """Another value that the same field takes too."""
    match value:
        case bool():
            return not value
        case str():
            return OTHER.get(value, value + "x")
        case int():
            return value + 1
        case float():
            return value * 0.99
        case dict():
            return {name: other(inner) for name, inner in value.items()}
    return [other(item) for item in value]


@pytest.fixture(scope="module")
def made(merges: Any, place: str) -> Callable[[Json], Json]:
    """Creates an object; what is there then."""
    return lambda document: merges.create(document, namespace=place, query_params=DRY[:1]).to_dict()


@pytest.fixture(scope="module")
def whole(made: Callable[[Json], Json]) -> Json:
    """An object with every field."""
    return made(full())


@pytest.mark.parametrize("where", EXPERIMENT, ids=lambda where: ".".join(map(str, where[1:])))
def test_no_field_of_an_experiment_goes_comes_or_changes(
    merges: Any, place: str, whole: Json, made: Callable[[Json], Json], where: Where
) -> None:
    def refused(there: Json, instead: Json) -> None:
        lines = said(merges.replace, {**instead, "metadata": there["metadata"]}, place)
        assert any(words in line for line in lines for words in CHANGES), lines

    refused(whole, edited(whole, {where: GONE}))
    if (changed := other(at(whole, where))) != at(whole, where):
        refused(whole, edited(whole, {where: changed}))
    without = edited(full(), {where: GONE, "metadata": {"generateName": "without-"}})
    if not mistakes({**without, "metadata": {"name": "without"}}):
        there = made(without)
        refused(there, edited(there, {where: at(whole, where)}))
        merges.delete(there["metadata"]["name"], namespace=place)


CLUSTER: list[Where] = [
    where
    for where in fields(full()["spec"]["cluster"], ("spec", "cluster"))
    if where[2:] != ("execution",) and not mistakes(edited(full(), {where: GONE}))
]


@pytest.mark.parametrize("where", CLUSTER, ids=lambda where: ".".join(map(str, where[2:])))
def test_how_a_cluster_carries_it_out_may_change(merges: Any, place: str, whole: Json, where: Where) -> None:
    assert said(merges.replace, edited(whole, {where: GONE}), place) == []


def test_execution_stays_as_it_was(merges: Any, place: str, whole: Json) -> None:
    for instead in ("Fused", GONE):
        (line,) = said(merges.replace, edited(whole, {"spec.cluster.execution": instead}), place)
        assert "spec.cluster.execution can't change; delete this DarwinMerge and create it again" in line


@pytest.mark.parametrize(("before", "after"), [(GONE, 11), (3, 3), (3, 4), (3, GONE)])
def test_steps_grow(made: Callable[[Json], Json], merges: Any, place: str, before: Any, after: Any) -> None:
    assert of_steps(made, merges, place, before, after) == []


@pytest.mark.parametrize(("before", "after"), [(GONE, 9), (3, 2), (11, GONE)])
def test_steps_do_not_shrink(made: Callable[[Json], Json], merges: Any, place: str, before: Any, after: Any) -> None:
    (line,) = of_steps(made, merges, place, before, after)
    assert "spec.evolution.steps only grows" in line
    assert "a revert in git won't sync" in line


def of_steps(made: Callable[[Json], Json], merges: Any, place: str, before: Any, after: Any) -> list[str]:
    """What is said of another number of steps; the default is 10."""
    given = {"metadata": {"generateName": "steps-"}} | ({} if before is GONE else {"spec.evolution": {"steps": before}})
    there = made(edited(small(), given))
    return said(merges.replace, edited(there, {"spec.evolution": GONE if after is GONE else {"steps": after}}), place)


def test_nobody_has_looked_at_a_new_object(made: Callable[[Json], Json]) -> None:
    assert made(edited(small(), {"metadata": {"generateName": "new-"}}))["status"] == {"observedGeneration": -1}


def test_the_server_keeps_a_status_as_it_is_written(made: Callable[[Json], Json], merges: Any, place: str) -> None:
    there = made(edited(small(), {"metadata": {"generateName": "status-"}}))
    there["status"] = longest_status().model_dump(mode="json", by_alias=True, exclude_none=True)
    written = merges.status.replace(there, namespace=place, query_params=DRY[:1]).to_dict()
    assert written["status"] == there["status"]


def test_kubectl_applies_it_and_explains_it(merges: Any) -> None:
    assert crd()["metadata"]["name"] in kubectl("apply", "--dry-run=server", "-f", FILE)
    assert until(lambda: "Default: 0.7." in explained("dm.spec.mri.weight"))


def test_kubectl_shows_columns(made: Callable[[Json], Json], merges: Any, place: str) -> None:
    there = made(edited(small(), {"metadata": {"name": "columns"}}))
    there["status"] = longest_status().model_dump(mode="json", by_alias=True, exclude_none=True)
    merges.status.replace(there, namespace=place)
    plain, wide = (kubectl("get", "dm", "columns", "-n", place, *more) for more in ((), ("-o", "wide")))
    assert plain.split("\n")[0].split() == ["NAME", "PHASE", "GEN", "EVALS", "BEST", "VS-PARENTS", "ETA", "AGE"]
    assert wide.split("\n")[0].split()[8:] == ["FATHER", "MOTHER", "VERDICT", "CHILD"]


def test_a_file_is_applied_as_people_write_it(place: str, merges: Any) -> None:
    path = Path(__file__).parents[2] / "examples" / "darwin-9b-opus.yaml"
    assert "created (server dry run)" in kubectl("apply", "-n", place, "--dry-run=server", "-f", path)

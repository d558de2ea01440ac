"""A manifest is read whole or refused with every mistake in it, by path, by what was found and what is allowed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from darwinmerge import hub, s3
from darwinmerge.cli.merge import parse_genome
from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.fields import parse_size
from darwinmerge.experiment.load import load, parse
from darwinmerge.experiment.manifest import Manifest
from tests.build import manifest, manifest_text


def mistakes(text: str) -> list[str]:
    """The mistakes that are reported for `text`, one line each, without the headline."""
    with pytest.raises(BadConfiguration) as caught:
        parse(text)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def only_mistake(**changes: Any) -> str:
    found = mistakes(manifest_text(**changes))
    assert len(found) == 1, found
    return found[0]


def test_a_small_manifest_gets_the_published_values_as_defaults() -> None:
    spec = parse(manifest_text()).spec
    assert (spec.mri.weight, spec.mri.bins, spec.mri.min_spread) == (0.7, 256, 0.01)
    assert (spec.mri.score.entropy, spec.mri.score.std, spec.mri.score.norm, spec.mri.score.norm_cap) == (
        0.5,
        0.3,
        0.002,
        100.0,
    )
    assert (spec.search.steps, spec.search.population) == (200, 20)
    assert (spec.merge.transplant.below, spec.merge.transplant.above) == (0.05, 0.95)
    assert (spec.merge.rescale, spec.merge.one_sided) == ("None", "Fail")
    assert (spec.evolution.algorithm, spec.evolution.steps, spec.evolution.candidates) == ("CMAES", 10, 4)
    assert (spec.evaluation.finalists, spec.evaluation.alpha, spec.seed) == (3, 0.05, 0)


def test_a_manifest_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(manifest_text(seed=7))
    assert load(path).spec.seed == 7


def test_json_is_yaml_too() -> None:
    assert parse(json.dumps(manifest(seed=9))).spec.seed == 9


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"merge\.yaml: No such file") as caught:
        load(tmp_path / "merge.yaml")
    assert caught.value.code == ExitCode.BAD_CONFIGURATION


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadConfiguration, match=r"merge\.yaml"):
        load(path)


def test_all_mistakes_are_reported_at_once() -> None:
    text = manifest_text(mri={"weigth": 1, "bins": 1}, merge={"rescale": "L9"}, seed=-1, evolution={"candidates": 1})
    paths = [line.partition(": ")[0] for line in mistakes(text)]
    assert paths == ["spec.evolution", "spec.merge.rescale", "spec.mri.bins", "spec.mri.weigth", "spec.seed"]


def test_the_headline_counts_the_mistakes() -> None:
    with pytest.raises(BadConfiguration, match="merge: 2 mistakes"):
        parse(manifest_text(seed=-1, mri={"bins": 0}), "merge")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"mri": {"weigth": 1}},
            "spec.mri.weigth: unknown field; did you mean 'weight'? allowed: bins, degenerate, entropyBase, kinds, "
            "minSpread, score, weight",
        ),
        (
            {"mri": {"kinds": [{"pattern": "x", "kind": "ffn", "knd": 1}]}},
            "spec.mri.kinds[0].knd: unknown field; did you mean 'kind'? allowed: kind, pattern",
        ),
        (
            {"health": {"zzz": 1}},
            "spec.health.zzz: unknown field; allowed: displacement, divergence, functionLoss, interference",
        ),
    ],
)
def test_an_unknown_field_is_told_what_is_allowed_and_what_was_probably_meant(
    changes: dict[str, Any], line: str
) -> None:
    assert only_mistake(**changes) == line


@pytest.mark.parametrize(
    ("changes", "path", "found", "allowed"),
    [
        ({"mri": {"bins": "many"}}, "spec.mri.bins", '"many"', "valid integer"),
        ({"mri": {"weight": 1.5}}, "spec.mri.weight", "1.5", "less than or equal to 1"),
        ({"mri": {"weight": True}}, "spec.mri.weight", "true", "valid number"),
        ({"mri": {"weight": "0,7"}}, "spec.mri.weight", '"0,7"', "not a decimal number"),
        ({"mri": {"weight": float("nan")}}, "spec.mri.weight", "NaN", "less than or equal to 1"),
        ({"mri": None}, "spec.mri", "null", "object"),
        ({"merge": {"rescale": "L9"}}, "spec.merge.rescale", '"L9"', "'None', 'Inverse' or 'L1'"),
        ({"search": {"sigma0": float("inf")}}, "spec.search.sigma0", "Infinity", "finite number"),
        ({"seed": 2**53}, "spec.seed", "9007199254740992", "less than 9007199254740992"),
        ({"seed": -1}, "spec.seed", "-1", "greater than or equal to 0"),
        ({"seed": "5"}, "spec.seed", '"5"', "valid integer"),
        ({"seed": 1.5}, "spec.seed", "1.5", "integer"),
        ({"output": {"maxShardSize": "12XB"}}, "spec.output.maxShardSize", '"12XB"', "5GB"),
        ({"store": {"uri": "ftp://x/y"}}, "spec.store.uri", '"ftp://x/y"', "file://, s3://, hf://, pvc://"),
        ({"store": {"uri": "s3://"}}, "spec.store.uri", '"s3://"', "names no place"),
    ],
)
def test_a_wrong_value_is_shown_with_its_path_and_what_is_allowed(
    changes: dict[str, Any], path: str, found: str, allowed: str
) -> None:
    line = only_mistake(**changes)
    assert line.startswith(f"{path}: ")
    assert found in line
    assert allowed in line


def test_a_missing_part_is_named() -> None:
    text = manifest_text()
    assert mistakes(text.replace("store:", "cluster:"))[0] == "spec.store: missing; it is required"


def test_a_wrong_member_of_a_union_is_told_both_ways_out() -> None:
    task = {"name": "arc_easy", "search": {"rows": "Some"}}
    assert only_mistake(evaluation={"tasks": [task]}) == (
        "spec.evaluation.tasks[0].search.rows: found \"Some\"; input should be a valid integer, or 'All'"
    )
    assert only_mistake(output={"uri": "ftp://x"}).startswith("spec.output.uri: unknown scheme 'ftp'; allowed: a path")


@pytest.mark.parametrize("secret", ["geheim", "ge/he+im", "ge@heim"])
def test_access_keys_in_a_uri_are_refused_and_not_told_again(secret: str) -> None:
    uri = f"s3://AKIA:{secret}@models/runs"
    told = only_mistake(store={"uri": uri})
    assert told.startswith("spec.store.uri: write s3://bucket/prefix; access keys come from the environment")
    with pytest.raises(BadConfiguration) as refused:
        s3.parse(uri)
    for text in (told, str(refused.value)):
        assert "AKIA" not in text
        assert secret[-4:] not in text


def test_of_a_model_on_a_hub_the_name_is_told() -> None:
    with pytest.raises(BadConfiguration, match=re.escape("hf://org/name@a..b: not a model")):
        hub.parse("hf://org/name@a..b")
    with pytest.raises(BadConfiguration) as refused:
        hub.parse("hf://me:geheim@org/name")
    assert "geheim" not in str(refused.value)


def test_a_density_is_never_nothing() -> None:
    bounds = {"densityB": {"min": 0, "max": 1}}
    assert "densityB.min" in only_mistake(search={"bounds": bounds})
    with pytest.raises(BadConfiguration, match=r"--genome density_b=0\.0: it must lie within 0\.\.1, above 0"):
        parse_genome("ratio=0.5,density_b=0")
    assert parse_genome("ratio=0.5,density_b=1e-9").density_b > 0


def test_of_two_fields_that_contradict_each_other_the_contradiction_is_told_and_no_more() -> None:
    same = {"parents": {"father": {"uri": "a"}, "mother": {"uri": "a"}}}
    assert only_mistake(**same) == "spec.parents: father and mother are the same model; there is nothing to merge"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [1, 2", "line 1, column 9: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: \0", "unacceptable character #x0000: special characters are not allowed"),
    ],
)
def test_what_is_not_yaml_is_told_in_one_line_with_its_place(text: str, why: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(text, "merge.yaml")
    assert str(caught.value) == f"merge.yaml: not YAML: {why}"


def test_of_a_wrong_task_the_mistake_inside_is_reported_and_no_other() -> None:
    lines = mistakes(manifest_text(evaluation={"tasks": [{"name": "arc_easy", "wieght": 2}]}))
    assert [line.partition(": ")[0] for line in lines] == ["spec.evaluation.tasks[0].wieght"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"evolution": {"candidates": 1}}, "CMAES needs at least 2 candidates"),
        ({"evolution": {"algorithm": "Elites", "steps": 10, "candidates": 5}}, "steps x candidates is 50"),
        ({"merge": {"transplant": {"below": 0.9, "above": 0.1}}}, "below 0.9 must be less than above 0.1"),
        ({"search": {"bounds": {"attn": {"min": 0.6, "max": 0.6}}}}, "min 0.6 must be below max 0.6"),
        ({"parents": {"father": {"uri": "m"}, "mother": {"uri": "m"}}}, "nothing to merge"),
        ({"evaluation": {"tasks": [{"name": "a"}, {"name": "a"}]}}, "task named more than once: a"),
        ({"evaluation": {"tasks": []}}, "at least 1 item"),
        ({"mri": {"kinds": [{"pattern": "(", "kind": "ffn"}]}}, "not a regular expression: missing )"),
        ({"mri": {"kinds": [{"pattern": "(?!a)", "kind": "ffn"}]}}, "not a regular expression: look-around"),
    ],
)
def test_impossible_combinations_are_refused(changes: dict[str, Any], line: str) -> None:
    assert line in only_mistake(**changes)


def test_decimals_may_be_strings_or_numbers() -> None:
    as_text = manifest_text(mri={"weight": "0.25"}, search={"sigma0": "3e-1"}, evaluation=_evaluation(alpha="0.01"))
    as_numbers = manifest_text(mri={"weight": 0.25}, search={"sigma0": 0.3}, evaluation=_evaluation(alpha=0.01))
    assert parse(as_text) == parse(as_numbers)


def _evaluation(**more: Any) -> dict[str, Any]:
    return {"tasks": [{"name": "arc_easy"}], **more}


def _decimal_fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, info in model.model_fields.items():
        here = (*path, info.alias or name)
        if info.annotation is float:
            yield here
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _decimal_fields(info.annotation, here)


@pytest.mark.parametrize("path", sorted(_decimal_fields(Manifest)), ids=".".join)
def test_every_decimal_of_the_manifest_may_be_a_string(path: tuple[str, ...]) -> None:
    text: Any = "not a decimal"
    for part in reversed(path[2:]):
        text = {part: text}
    if path[1] == "evaluation":
        text = _evaluation(**text)
    lines = mistakes(manifest_text(**{path[1]: text}))
    assert f'{".".join(path)}: not a decimal number (found "not a decimal")' in lines


def test_the_greatest_seed_is_kept_to_the_last_digit() -> None:
    assert parse(manifest_text(seed=2**53 - 1)).spec.seed == 2**53 - 1


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    text = manifest_text() + "  seed: 1\n  seed: 2\n"
    with pytest.raises(BadConfiguration, match=rf"line {len(text.splitlines())}: the key 'seed' stands twice"):
        parse(text)


def test_dates_and_versions_stay_text() -> None:
    text = manifest_text().replace("  name: tiny", "  name: tiny\n  labels: {made: 2024-05-01}")
    assert parse(text).metadata.labels == {"made": "2024-05-01"}


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: 1\n---\nb: 2\n", "a: [", "\0"])
def test_what_is_no_single_mapping_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration):
        parse(text)


@pytest.mark.parametrize(
    "line",
    ["? [a, b]\n  : c", "cluster: &a {x: *a}", f"seed: {'9' * 5000}"],
    ids=["list as a key", "mapping inside itself", "number of 5000 digits"],
)
def test_what_yaml_allows_and_json_does_not_is_refused_by_name(line: str) -> None:
    with pytest.raises(BadConfiguration):
        parse(f"{manifest_text()}  {line}\n")


def test_a_check_of_two_fields_shows_though_a_third_is_wrong() -> None:
    lines = mistakes(manifest_text(evolution={"candidates": 1, "stpes": 3}, mri={"weight": 2}))
    assert len(lines) == 3
    assert any("CMAES needs at least 2 candidates" in line for line in lines)
    assert any("did you mean 'steps'" in line for line in lines)


def test_merge_keys_are_not_taken_for_duplicates() -> None:
    aliases = "  cluster:\n    a: &a {x: 1}\n    deep: {b: {c: &c {<<: *a, x: 2}}}\n    d: {<<: *c}\n"
    assert parse(manifest_text() + aliases).spec.cluster["deep"] == {"b": {"c": {"x": 2}}}


WORDS = st.text(st.characters(categories=["L", "N", "P"]), max_size=8)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["parents", "mri", "search", "merge", "evolution", "evaluation", "health", "output", "seed"]),
)
def test_whatever_stands_in_a_field_is_read_or_refused(value: Any, field: str) -> None:
    assert not [line for line in refusals(json.dumps(manifest(**{field: value}))) if f"spec.{field}" not in line]


def refusals(text: str) -> list[str]:
    """The mistakes in `text`, if any."""
    try:
        parse(text)
    except BadConfiguration as error:
        return str(error).splitlines()[1:]
    return []


def test_snake_case_is_not_a_second_way_to_write_a_field() -> None:
    assert "minSpread" in only_mistake(mri={"min_spread": 0.5})


def test_manifest_values_cannot_be_changed() -> None:
    spec = parse(manifest_text()).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("500M", 5 * 10**8), ("2Gi", 2**31), ("2GiB", 2**31), ("1048576", 2**20)]
)
def test_sizes_are_read_in_decimal_and_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, and those in their fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from _models(info.annotation)
    for part in get_args(annotation):
        yield from _models(part)


@pytest.mark.parametrize("model", sorted(set(_models(Manifest)), key=str))
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    assert [name for name, info in model.model_fields.items() if not (info.description or "").strip()] == []


def test_descriptions_reach_the_schema() -> None:
    schema = Manifest.model_json_schema()
    assert "Share of the diagnosis" in schema["$defs"]["Mri"]["properties"]["weight"]["description"]

"""A task's id holds all that decides its result and nothing else: a setting changes no id before its own stage."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings

from darwinmerge.canonical import canonical
from darwinmerge.experiment.experiment import Bindings, Experiment, Limits
from darwinmerge.merge.recipe import Pins
from darwinmerge.pipeline.results import RESULT
from darwinmerge.pipeline.tasks import MriInputs, ResolveInputs, Task
from tests.unit.plan_world import ANY_WORLDS, EVERY_PART, Part, World, experiment, experiments, run, with_settings
from tests.unit.planned import ids

ELSEWHERE = Bindings(
    father="s3://models/father",
    mother="hf://org/mother@main",
    store="s3://bucket/run",
    task_folder="/elsewhere/tasks",
    device="cuda:3",
)


def spelled_out(x: Experiment) -> Experiment:
    return with_settings(x)


def as_strings(x: Experiment) -> Experiment:
    return with_settings(x, mri={"weight": "0.70"}, evolution={"sigma0": "0.150"}, evaluation={"alpha": "5e-2"})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda x: x.model_copy(update={"where": ELSEWHERE}), id="places and device"),
        pytest.param(lambda x: x.model_copy(update={"limits": Limits(attempts=9, retry_seconds=7)}), id="limits"),
        pytest.param(lambda x: with_settings(x, parents={"father": {"uri": "s3://a/b"}}), id="a parent's URI"),
        pytest.param(lambda x: with_settings(x, store={"uri": "s3://a/b"}), id="the store's URI"),
        pytest.param(lambda x: with_settings(x, output={"uri": "s3://a/b"}), id="the output as written"),
        pytest.param(lambda x: with_settings(x, evaluation={"taskFolder": "tasks"}), id="the task folder as written"),
        pytest.param(lambda x: with_settings(x, cluster={"queue": "gpus"}), id="Kubernetes"),
        pytest.param(spelled_out, id="defaults spelled out"),
        pytest.param(as_strings, id="decimals as strings"),
    ],
)
def test_what_decides_no_result_changes_no_id(other: Any) -> None:
    x = experiment()
    assert list(run(other(x), World()).results) == list(run(x, World()).results)


SCORED: tuple[Part, ...] = ("reference", "candidate", "finalist", "questions")


@pytest.mark.parametrize(
    ("change", "same", "different"),
    [
        ({"seed": 1}, (), EVERY_PART),
        ({"evaluation": {"tasks": [{"name": "nouns", "search": {"rows": 5}}]}}, ("resolve", "mri"), ("rows", *SCORED)),
        ({"evaluation": {"tasks": [{"name": "nouns", "numFewshot": 5}]}}, ("resolve", "mri"), ("rows", *SCORED)),
        ({"mri": {"bins": 64}}, ("resolve", "rows"), EVERY_PART[2:]),
        ({"mri": {"score": {"std": 0}}}, ("resolve", "rows"), EVERY_PART[2:]),
        ({"mri": {"weight": 0}}, ("resolve", "rows", "mri"), EVERY_PART[3:]),
        ({"merge": {"rescale": "Inverse"}}, ("resolve", "rows", "mri"), EVERY_PART[3:9]),
        ({"search": {"steps": 100}}, (*EVERY_PART[:3], "reference"), ("search", "candidate")),
        ({"search": {"bounds": {"ffn": {"min": 0.2, "max": 0.9}}}}, (*EVERY_PART[:3], "reference"), ("search",)),
        ({"evaluation": {"batchSize": 8}}, EVERY_PART[:4], SCORED),
        ({"evaluation": {"threads": 8}}, EVERY_PART[:4], SCORED),
        ({"evaluation": {"alpha": 0.01}}, EVERY_PART[:10], ("verdict", "publish")),
        ({"evaluation": {"finalists": 1}}, EVERY_PART[:6], ()),
        ({"evolution": {"candidates": 4}}, EVERY_PART[:5], ("candidate",)),
        ({"health": {"interference": 1.2}}, (*EVERY_PART[:9], "verdict"), ("health", "publish")),
        ({"output": {"maxShardSize": "1GB"}}, (*EVERY_PART[:8], "verdict"), ("export",)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_changes_the_ids_of_its_own_stage_and_none_before_it(
    change: dict[str, Any], same: tuple[Part, ...], different: tuple[Part, ...]
) -> None:
    here, there = run(experiment(), World()), run(with_settings(experiment(), **change), World())
    for one in same:
        assert ids(here, one) == ids(there, one)
    for one in different:
        assert ids(here, one)
        assert not ids(here, one) & ids(there, one)


def test_other_parents_change_the_ids_of_all_that_reads_them() -> None:
    here, there = run(experiment(), World()), run(experiment(), World(parents="another pair"))
    assert ids(here, "resolve", "rows") == ids(there, "resolve", "rows")
    assert not ids(here, *EVERY_PART[2:]) & ids(there, *EVERY_PART[2:])


def test_only_the_publication_depends_on_the_name_and_on_the_place_of_the_child() -> None:
    here = run(experiment(), World())
    for x in (experiment(output="/child"), experiment().model_copy(update={"name": "another"})):
        there = run(x, World())
        assert ids(here, *EVERY_PART[:-1]) == ids(there, *EVERY_PART[:-1])
        assert not ids(here, "publish") & ids(there, "publish")


def test_an_id_is_the_sha256_of_canonical_json_without_defaults() -> None:
    x = experiment()
    resolve = Task(revision=1, seed=0, inputs=ResolveInputs())
    assert canonical(resolve) == b'{"inputs":{"stage":"resolve"},"revision":1,"seed":0}'
    assert resolve.id == hashlib.sha256(canonical(resolve)).hexdigest()
    mri = Task(revision=1, seed=0, inputs=MriInputs(pins=Pins(father="a", mother="b"), mri=x.spec.mri))
    expected = b'{"inputs":{"mri":{},"pins":{"father":"a","mother":"b"},"stage":"mri"},"revision":1,"seed":0}'
    assert canonical(mri) == expected


@settings(max_examples=15)
@given(experiments(), ANY_WORLDS)
def test_tasks_and_results_survive_json(x: Experiment, world: World) -> None:
    found = run(x, world)
    for task in found.asked.values():
        text = canonical(task)
        data = json.loads(text)
        assert json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == text
        assert task.id == hashlib.sha256(text).hexdigest()
        for again in (
            Task.model_validate_json(task.model_dump_json()),
            Task.model_validate_json(task.model_dump_json(by_alias=True)),
            Task.model_validate(json.loads(json.dumps(task.model_dump(mode="json", by_alias=True)))),
        ):
            assert again == task
            assert again.id == task.id
    for result in found.results.values():
        assert RESULT.validate_json(RESULT.dump_json(result, by_alias=True)) == result

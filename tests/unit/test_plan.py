"""The plan over generated histories: whatever the order of arrival, whatever is missing, the run is the same run."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.canonical import digest
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import Done, TaskId
from darwinmerge.pipeline.tasks import ScoreInputs
from tests.unit.plan_world import (
    ANY_WORLDS,
    EVERY_PART,
    SEEDS,
    WORKERS,
    Part,
    World,
    at_random,
    experiment,
    experiments,
    part,
    run,
    steps_of,
    without,
    worlds,
)
from tests.unit.planned import ids


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def digests(value: Any) -> set[str]:
    return {text for text in strings(value.model_dump(mode="json")) if re.fullmatch("[0-9a-f]{64}", text)}


@settings(max_examples=120)
@given(experiments(), ANY_WORLDS, SEEDS, WORKERS)
def test_any_order_of_arrival_gives_the_same_run(x: Experiment, world: World, seed: int, workers: int) -> None:
    quiet = run(x, world)
    busy = run(x, world, order=at_random(seed), workers=workers)
    assert busy.kept == quiet.kept
    assert busy.walk == quiet.walk
    assert busy.outcome == quiet.outcome


@settings(max_examples=100)
@given(experiments(), worlds(), SEEDS, st.sampled_from((0.05, 0.3, 0.7, 0.95, 1.0)), WORKERS)
def test_whatever_is_missing_is_asked_for_again_and_nothing_else(
    x: Experiment, world: World, seed: int, share: float, workers: int
) -> None:
    finished = run(x, world)
    left = without(finished, seed, share)
    again = run(x, world, left, at_random(seed), workers)
    assert set(again.asked) == set(finished.results) - set(left)
    assert again.results == finished.results
    assert again.walk == finished.walk


@settings(max_examples=40)
@given(experiments(), worlds(), st.sets(st.sampled_from(EVERY_PART), min_size=1), WORKERS)
def test_whole_stages_may_be_missing(x: Experiment, world: World, lost: set[Part], workers: int) -> None:
    finished = run(x, world)
    gone = ids(finished, *lost)
    left = {task: result for task, result in finished.results.items() if task not in gone}
    again = run(x, world, left, at_random(0), workers)
    assert set(again.asked) == gone
    assert again.walk == finished.walk


@settings(max_examples=60)
@given(experiments(), ANY_WORLDS, SEEDS, st.sampled_from((0.0, 0.3, 0.7)), WORKERS)
def test_every_plan_on_the_way_is_sound(x: Experiment, world: World, seed: int, share: float, workers: int) -> None:
    start = without(run(x, world), seed, share) if share else {}
    for now, known, _ in steps_of(x, world, start, at_random(seed), workers):
        asked = [task.id for task in now.ready]
        assert len(set(asked)) == len(asked), "an id was offered twice"
        assert not set(asked) & set(known), "a task was offered whose result is known"
        assert bool(now.ready) != bool(now.outcome)


@settings(max_examples=25)
@given(experiments(), ANY_WORLDS, SEEDS)
def test_the_plan_is_a_function_of_the_results_and_not_of_their_order(x: Experiment, world: World, seed: int) -> None:
    for now, known, _ in steps_of(x, world, {}, at_random(seed), workers=4):
        before = dict(known)
        assert plan(x, MappingProxyType(known)) == now
        assert plan(x, dict(reversed(known.items()))) == now
        assert list(known.items()) == list(before.items())


@settings(max_examples=25)
@given(experiments(), worlds(), SEEDS)
def test_a_task_names_only_what_known_results_vouch_for(x: Experiment, world: World, seed: int) -> None:
    for now, known, _ in steps_of(x, world, {}, at_random(seed), workers=4):
        vouched = {digest(x.where.output)}.union(*(digests(result) for result in known.values()))
        for task in now.ready:
            assert digests(task) <= vouched


@settings(max_examples=40)
@given(experiments(), worlds(), SEEDS)
def test_a_task_once_ready_stays_ready_until_it_is_answered(x: Experiment, world: World, seed: int) -> None:
    waiting: set[TaskId] = set()
    for now, known, _ in steps_of(x, world, {}, at_random(seed), workers=2):
        ready = {task.id for task in now.ready}
        assert waiting - set(known) <= ready
        waiting = ready


def test_parents_are_scored_while_phase_1_runs() -> None:
    x, world = experiment(), World()
    known = {task.id: world.answer(task) for task in run(x, world).asked_for("resolve", "rows", "mri")}
    assert [part(task) for task in plan(x, known).ready] == ["search", "reference", "reference", "reference"]


def test_a_whole_generation_is_ready_at_once() -> None:
    x, world = experiment(candidates=4), World()
    known = {t.id: world.answer(t) for t in run(x, world).asked_for("resolve", "rows", "mri", "search", "reference")}
    ready = [task.inputs for task in plan(x, known).ready]
    assert [inputs.index for inputs in ready if isinstance(inputs, ScoreInputs)] == [0, 1, 2, 3]


def test_a_report_is_drawn_after_each_generation_before_anything_else() -> None:
    x, world = experiment(steps=3), World()
    drawn = [task.inputs.generation for task in run(x, world).asked_for("report")]  # type: ignore[union-attr]
    assert drawn == [1, 2, 3]
    for now, _, _ in steps_of(x, world, {}):
        assert all(task.stage != "report" for task in now.ready[1:])


def test_a_run_has_not_ended_before_its_reports_are_drawn() -> None:
    x, world = experiment(steps=1), World()
    done = dict(run(x, world).results)
    (report,) = [task for task, r in done.items() if isinstance(r, Done) and r.summary.stage == "report"]
    del done[report]
    now = plan(x, done)
    assert ([task.id for task in now.ready], now.outcome) == ([report], None)

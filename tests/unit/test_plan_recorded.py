"""What is recorded of a run stands: with more steps it goes on from there, and recorded genomes are adopted."""

from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline import plan as plan_module
from darwinmerge.pipeline.results import Superseded
from darwinmerge.pipeline.tasks import ChildModel, ScoreInputs
from darwinmerge.search.genome import Genome
from darwinmerge.search.phase2 import propose
from tests.unit.plan_world import (
    ANY_WORLDS,
    SEEDS,
    SOME_FOREIGN,
    WORKERS,
    World,
    at_random,
    experiment,
    experiments,
    part,
    run,
    with_steps,
    without,
    worlds,
)
from tests.unit.planned import ids

# More generations.


@settings(max_examples=60)
@given(experiments(), ANY_WORLDS, st.integers(1, 3), SEEDS, WORKERS)
def test_raising_the_steps_of_a_finished_run_asks_for_the_new_generations_only(
    x: Experiment, world: World, more: int, seed: int, workers: int
) -> None:
    old = x.spec.evolution.steps
    short = run(x, world)
    longer = run(with_steps(x, old + more), world, short.results, at_random(seed), workers)
    whole = run(with_steps(x, old + more), world)

    allowed = {"candidate", "report", "finalist", "questions", "export", "health", "verdict", "publish"}
    for task in longer.asked.values():
        assert part(task) in allowed
        if isinstance(task.inputs, ScoreInputs) and short.walk.verdict:
            assert isinstance(task.inputs.model, ChildModel)
        assert part(task) != "candidate" or task.inputs.generation > old  # type: ignore[union-attr]

    assert longer.walk.generations == whole.walk.generations
    assert longer.walk.winner == whole.walk.winner
    assert longer.walk.finalists == whole.walk.finalists
    assert longer.walk.export == whole.walk.export
    assert longer.walk.health == whole.walk.health
    assert longer.walk.verdicts == whole.walk.verdicts
    assert longer.outcome == whole.outcome
    judged = ids(whole, "verdict", "publish")
    assert all(longer.kept[task] == result for task, result in whole.kept.items() if task not in judged)


@settings(max_examples=50)
@given(experiments(), worlds(), st.integers(1, 3))
def test_another_winner_is_judged_by_itself_and_the_same_one_is_not_judged_again(
    x: Experiment, world: World, more: int
) -> None:
    short = run(x, world)
    longer = run(with_steps(x, x.spec.evolution.steps + more), world, short.results)
    first, second = short.walk.verdict, longer.walk.verdict
    if first is None or second is None:
        return
    if second.answers == first.answers:
        assert second == first
        assert not longer.asked_for("verdict")  # its card, which tells of more candidates now, is published anew
    else:
        assert len(longer.asked_for("verdict")) == 1


@settings(max_examples=25)
@given(experiments(), ANY_WORLDS, st.integers(1, 3), SEEDS, st.sampled_from((0.1, 0.5, 1.0)))
def test_a_run_that_went_on_is_repaired_too(x: Experiment, world: World, more: int, seed: int, share: float) -> None:
    x_longer = with_steps(x, x.spec.evolution.steps + more)
    longer = run(x_longer, world, run(x, world).results)
    again = run(x_longer, world, without(longer, seed, share), at_random(seed), workers=3)
    assert again.walk == longer.walk


def test_a_run_without_a_child_goes_on_with_more_steps() -> None:
    world = next(w for w in (World(parents=f"pair {i}", rejects=0.8) for i in range(100)) if one_late_child(w))
    short = run(experiment(steps=1), world)
    assert (short.outcome.kind, short.outcome.reason) == ("Failed", "NoCandidate")
    assert run(experiment(steps=4), world, short.results).outcome.kind == "Complete"


def one_late_child(world: World) -> bool:
    outcomes = [run(experiment(steps=steps), world).outcome.kind for steps in (1, 4)]
    return outcomes == ["Failed", "Complete"]


# Generations that were recorded with other genomes.


@settings(max_examples=80)
@given(experiments(), worlds(SOME_FOREIGN), SEEDS, WORKERS)
def test_recorded_genomes_are_adopted(x: Experiment, world: World, seed: int, workers: int) -> None:
    found = run(x, world, order=at_random(seed), workers=workers)
    for generation in found.walk.generations:
        if generation.number in world.foreign:
            assert generation.genomes == world.recorded(generation.number, len(generation.genomes))
    replayed = run(x, world, found.kept)
    assert not replayed.asked
    assert replayed.walk == found.walk


@settings(max_examples=80)
@given(experiments(), worlds(SOME_FOREIGN), SEEDS, st.sampled_from((0.05, 0.3, 0.9)), WORKERS)
def test_recorded_genomes_are_adopted_whatever_is_missing(
    x: Experiment, world: World, seed: int, share: float, workers: int
) -> None:
    finished = run(x, world)
    again = run(x, world, without(finished, seed, share), at_random(seed), workers)
    assert again.kept == finished.kept
    assert again.walk == finished.walk


def test_one_report_of_other_genomes_replaces_the_generation() -> None:
    x, world = experiment(candidates=4), World(foreign=frozenset({2}))
    reports = [result for result in run(x, world).results.values() if isinstance(result, Superseded)]
    assert [report.generation for report in reports] == [2]


@settings(max_examples=50)
@given(experiments(), ANY_WORLDS, st.integers(1, 4), st.integers(0, 3), SEEDS)
def test_no_settled_generation_is_computed_again(
    x: Experiment, world: World, open_one: int, lost: int, seed: int
) -> None:
    """Not even where this machine would compute other genomes than the one that did."""
    finished = run(x, world)
    if len(finished.walk.generations) < x.spec.evolution.steps:
        return  # it ended early because there were no more genomes, which `propose` must be asked about
    generation = finished.walk.generations[min(open_one, len(finished.walk.generations)) - 1]
    left = finished.kept
    del left[generation.tasks[lost % len(generation.tasks)].id]

    def guarded(number: int, *others: Any) -> tuple[Genome, ...]:
        assert number == generation.number, f"generation {number} has all its results"
        return propose(number, *others)

    with patch.object(plan_module, "propose", guarded):
        again = run(x, world, left, at_random(seed), workers=3)
    assert again.walk == finished.walk

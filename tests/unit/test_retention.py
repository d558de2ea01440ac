"""Staged children are named as spent only when nothing can need them any more."""

from hypothesis import given, settings

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import ranked
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done, ScoreSummary
from darwinmerge.pipeline.retention import spent
from tests.unit.plan_world import (
    ANY_WORLDS,
    SEEDS,
    WORKERS,
    World,
    at_random,
    experiment,
    experiments,
    steps_of,
    with_settings,
)


@settings(max_examples=40)
@given(experiments(), ANY_WORLDS, SEEDS, WORKERS)
def test_the_best_and_what_has_no_score_are_never_spent(x: Experiment, world: World, seed: int, workers: int) -> None:
    for now, known, _ in steps_of(x, world, {}, at_random(seed), workers):
        gone = spent(x, known)
        if now.outcome:
            assert gone == "All"
            return
        scored = {
            r.summary.recipe for r in known.values() if isinstance(r, Done) and isinstance(r.summary, ScoreSummary)
        }
        assert set(gone) <= scored
        best = [summary.recipe for summary in ranked(walk(x, known).generations)]
        if best:
            assert best[0] not in gone
        assert not set(gone) & set(best[: x.spec.evaluation.finalists])


def test_a_generation_that_is_not_finished_spends_nothing() -> None:
    x, world = experiment(steps=1, candidates=4, finalists=1), World()
    for now, known, _ in steps_of(x, world, {}):
        if any(task.stage == "score" for task in now.ready) and not walk(x, known).winner:
            assert spent(x, known) == ()


def test_the_losers_of_a_finished_generation_are_spent() -> None:
    x, world = experiment(steps=2, candidates=4, finalists=1), World(grain=0.001)
    found = [spent(x, known) for now, known, _ in steps_of(x, world, {}) if not now.outcome]
    assert max(len(gone) for gone in found) >= 3


def test_retention_all_keeps_everything() -> None:
    x = with_settings(experiment(steps=2), store={"uri": "store", "retention": "All"})
    assert {spent(x, known) for _, known, _ in steps_of(x, World(), {})} == {()}

"""What is shown of a run, along generated histories."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import ranked
from darwinmerge.pipeline.progress import Progress, summarise
from darwinmerge.pipeline.results import Done, RowCounts, RowsSummary, ScoreSummary
from darwinmerge.pipeline.tasks import ScoreInputs, Task
from tests.unit.plan_world import (
    ANY_WORLDS,
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
    with_steps,
    worlds,
)


@settings(max_examples=40)
@given(experiments(), ANY_WORLDS, SEEDS, WORKERS)
def test_what_is_done_only_grows(x: Experiment, world: World, seed: int, workers: int) -> None:
    before = summarise(x, {})
    for now, known, _ in steps_of(x, world, {}, at_random(seed), workers):
        shown = summarise(x, known)
        assert shown.questions >= before.questions
        assert shown.step >= before.step
        assert shown.candidates >= before.candidates
        assert shown.rejected >= before.rejected
        assert (shown.best or 0) >= (before.best or 0)
        assert shown.questions <= shown.questions_total
        assert shown.candidates <= shown.candidates_total
        assert shown.step <= shown.steps
        assert (shown.stage == "finished") == bool(now.outcome)
        before = shown


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 3), st.integers(2, 4), st.integers(1, 4), st.sampled_from((0, 20)))
def test_all_questions_are_done_at_the_end(seed: int, steps: int, candidates: int, finalists: int, fresh: int) -> None:
    """Where no recipe comes twice, none is rejected, and there are as many children as asked for."""
    x = experiment(steps=steps, candidates=candidates, finalists=finalists, tasks=("nouns", "countries"), seed=seed)
    found = run(x, World(grain=1e-9, fresh=fresh))
    shown = summarise(x, found.results)
    assert shown.questions == shown.questions_total == asked(found.asked.values(), World(fresh=fresh))
    assert shown.candidates == shown.candidates_total == steps * candidates


def test_no_finals_are_counted_where_one_task_has_no_fresh_rows() -> None:
    x, world = experiment(tasks=("nouns", "countries")), World(grain=1e-9)
    (rows,) = run(x, world).asked_for("rows")
    counts = (
        RowCounts(task="nouns", search=40, fresh=20, verdict=60),
        RowCounts(task="countries", search=40, fresh=0, verdict=60),
    )
    known = {rows.id: Done(task=rows.id, summary=RowsSummary(rows="0" * 64, counts=counts))}
    shown = summarise(x, run(x, world, known).results)
    assert shown.questions == shown.questions_total


def asked(tasks: Iterable[Task], world: World) -> int:
    """Questions that the tasks ask; a finalist's search rows were asked before."""
    rows = {"search": world.search, "fresh": world.fresh, "verdict": world.verdict}
    total = 0
    for task in tasks:
        if isinstance(task.inputs, ScoreInputs):
            sets = task.inputs.sets if part(task) != "finalist" else ("fresh",)
            total += len(task.inputs.terms.tasks) * sum(rows[name] for name in sets)
    return total


@settings(max_examples=30)
@given(experiments(), worlds(), SEEDS)
def test_what_is_shown_at_the_end_is_what_was_found(x: Experiment, world: World, seed: int) -> None:
    found = run(x, world, order=at_random(seed), workers=3)
    shown = summarise(x, found.results)
    ranking = ranked(found.walk.generations)
    assert shown.stage == "finished"
    assert shown.best == (ranking[0].score if ranking else None)
    assert set(shown.parents) == {"father", "mother", "linear"}
    assert (shown.informative, shown.spread) == (False, 0.000412345678901)
    assert shown.verdict == (found.walk.verdict.label if found.walk.verdict else None)
    assert shown.rejected + sum(scored(r) for r in found.results.values()) == shown.candidates


def scored(result: object) -> bool:
    summary = getattr(result, "summary", None)
    return isinstance(summary, ScoreSummary) and summary.candidate is not None


def test_nothing_is_claimed_before_anything_is_known() -> None:
    shown = summarise(experiment(steps=3, candidates=4), {})
    assert shown == Progress(
        stage="resolving parents and rows",
        step=0,
        steps=3,
        candidates=0,
        candidates_total=12,
        rejected=0,
        questions=0,
        questions_total=0,
        best=None,
        parents={},
        informative=None,
        spread=None,
        verdict=None,
    )


def words(*known: Part, generations: int = 0) -> str:
    """The stage that is shown when the tasks of some parts are done, and those of the first generations."""
    x, world = experiment(steps=2), World()
    done = {
        task.id: world.answer(task)
        for task in run(x, world).asked.values()
        if part(task) in known or (part(task) == "candidate" and task.inputs.generation <= generations)  # type: ignore[union-attr]
    }
    return summarise(x, done).stage


BEGUN: tuple[Part, ...] = ("resolve", "rows", "mri")
REFERRED: tuple[Part, ...] = (*BEGUN, "search", "reference")


@pytest.mark.parametrize(
    ("known", "generations", "expected"),
    [
        ((), 0, "resolving parents and rows"),
        (("resolve",), 0, "resolving parents and rows"),
        (("resolve", "mri"), 0, "resolving parents and rows"),
        (("resolve", "rows"), 0, "model MRI"),
        (BEGUN, 0, "parents and Phase 1"),
        ((*BEGUN, "reference"), 0, "parents and Phase 1"),
        ((*BEGUN, "search"), 0, "generation 1"),
        (REFERRED, 0, "generation 1"),
        (REFERRED, 1, "generation 2"),
        ((*BEGUN, "search"), 2, "parents and Phase 1"),
        (REFERRED, 2, "finalists"),
        ((*REFERRED, "finalist"), 2, "verdict"),
        ((*REFERRED, "finalist", "export"), 2, "verdict"),
        ((*REFERRED, "finalist", "questions"), 2, "verdict"),
        ((*REFERRED, "finalist", "questions", "export", "health"), 2, "verdict"),
        ((*REFERRED, "finalist", "questions", "export", "verdict"), 2, "health check"),
        ((*REFERRED, "finalist", "questions", "export", "health", "verdict"), 2, "publishing"),
        ((*REFERRED, "finalist", "questions", "export", "health", "verdict", "publish"), 2, "report"),
        ((*REFERRED, "finalist", "questions", "export", "health", "verdict", "publish", "report"), 2, "finished"),
    ],
)
def test_the_stage_in_words(known: tuple[Part, ...], generations: int, expected: str) -> None:
    assert words(*known, generations=generations) == expected


def test_a_failed_run_is_finished_too() -> None:
    x, world = experiment(), World(rejects=1.0)
    assert summarise(x, run(x, world).results).stage == "finished"


def test_more_steps_reopen_a_finished_run() -> None:
    x, world = experiment(steps=2), World()
    results = run(x, world).results
    shown = summarise(with_steps(x, 3), results)
    assert (shown.stage, shown.step, shown.steps) == ("generation 3", 3, 3)
    assert shown.verdict is None
    assert shown.questions < shown.questions_total

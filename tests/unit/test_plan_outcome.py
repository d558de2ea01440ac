"""What a run comes to: no rejected candidate is ranked, and a child leaves the store if verdict and health allow it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.experiment.experiment import Experiment, science_of
from darwinmerge.pipeline.known import Outcome, ranked
from darwinmerge.pipeline.results import Rejected
from darwinmerge.pipeline.tasks import PublishInputs
from darwinmerge.report.state import child_place
from darwinmerge.search.genome import Genome
from darwinmerge.search.phase2 import Scores, propose
from darwinmerge.store import layout
from tests.unit.plan_world import (
    DOOM,
    EVERY_PART,
    LABELS,
    SEEDS,
    Part,
    Run,
    World,
    among,
    at_random,
    experiment,
    experiments,
    run,
    with_settings,
    worlds,
)

# Rejected candidates.


@settings(max_examples=50)
@given(experiments(), worlds(), SEEDS)
def test_a_rejected_candidate_is_never_ranked(x: Experiment, world: World, seed: int) -> None:
    found = run(x, among(world, rejects=0.5), order=at_random(seed), workers=3)
    rejected = {r.candidate.genome for r in found.results.values() if isinstance(r, Rejected) and r.candidate}
    ranking = ranked(found.walk.generations)
    assert not {summary.candidate.genome for summary in ranking if summary.candidate} & rejected
    assert [s.score for s in ranking] == sorted((s.score for s in ranking), reverse=True)
    assert len({s.recipe for s in ranking}) == len(ranking)


@settings(max_examples=60)
@given(SEEDS, st.lists(st.lists(st.none() | st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=3))
def test_a_rejected_candidate_steers_the_search_like_the_worst(seed: int, told: list[list[float | None]]) -> None:
    spec = experiment(candidates=3, seed=seed).spec
    elites = World().genome("a", seed), World().genome("b", seed), World().genome("c", seed)

    def last(lowest: float | None) -> tuple[Genome, ...]:
        past: list[tuple[tuple[Genome, ...], Scores]] = []
        for scores in told:
            genomes = propose(len(past) + 1, elites, past, World().active, spec)
            past.append((genomes, tuple(lowest if score is None else score for score in scores)))
        return propose(len(past) + 1, elites, past, World().active, spec)

    assert last(None) == last(0.0)


@pytest.mark.parametrize("steps", [1, 3])
def test_where_every_candidate_is_rejected_the_first_reason_is_told(steps: int) -> None:
    x, world = experiment(steps=steps), World(rejects=1.0)
    for order in (at_random(1), at_random(2)):
        found = run(x, world, order=order, workers=5)
        expected = f"every candidate was rejected; the first: {DOOM} (1/0)"
        assert found.outcome == Outcome(kind="Failed", reason="NoCandidate", message=expected)
        assert len(found.walk.generations) == steps
        assert not found.asked_for("finalist", "export", "questions", "health", "verdict", "publish")


@pytest.mark.parametrize("doomed", [p for p in EVERY_PART if p not in ("candidate", "finalist", "report")])
def test_a_rejection_elsewhere_fails_the_experiment(doomed: Part) -> None:
    found = run(experiment(), World(dooms=frozenset({doomed})), order=at_random(3), workers=3)
    assert (found.outcome.kind, found.outcome.reason) == ("Failed", "NonFiniteScores")
    assert found.outcome.message.startswith(DOOM)


@pytest.mark.parametrize(("most", "generations"), [(2, 1), (3, 2), (5, 2)])
def test_more_rejected_candidates_than_the_manifest_allows_end_the_run(most: int, generations: int) -> None:
    x = with_settings(experiment(steps=3, candidates=3), evolution={"maxFailedCandidates": most})
    found = run(x, World(rejects=1.0))
    assert (found.outcome.kind, found.outcome.reason) == ("Failed", "TooManyRejected")
    told = f"{3 * generations} candidates were rejected, evolution.maxFailedCandidates is {most}; the last: {DOOM}"
    assert found.outcome.message.startswith(told)
    assert len(found.walk.generations) == generations


def test_where_phase_1_leaves_no_elite_there_is_no_candidate() -> None:
    found = run(experiment(), World(elites=0))
    assert found.outcome == Outcome(kind="Failed", reason="NoCandidate", message="there was no candidate")


# The end.


@settings(max_examples=25)
@given(experiments(), worlds(), SEEDS)
def test_a_child_that_fails_its_health_check_is_not_published(x: Experiment, world: World, seed: int) -> None:
    sick = run(x, among(world, rejects=0.0, health="Fail"), order=at_random(seed), workers=3)
    well = run(x, among(world, rejects=0.0, health="Flagged"), order=at_random(seed), workers=3)
    assert not sick.asked_for("publish")
    assert len(well.asked_for("publish")) == 1
    assert sick.walk.verdict == well.walk.verdict
    assert sick.outcome == well.outcome
    assert sick.walk.verdict
    assert sick.outcome == Outcome(kind="Complete", reason=sick.walk.verdict.label)


@pytest.mark.parametrize(
    ("publish_if", "leaves"),
    [
        ("Always", ["ChildBeatsBoth", "BeatsFather", "BeatsMother", "NoSignificantDifference", "Worse"]),
        ("NotWorse", ["ChildBeatsBoth", "BeatsFather", "BeatsMother", "NoSignificantDifference"]),
        ("BeatsBoth", ["ChildBeatsBoth"]),
    ],
)
def test_a_child_leaves_the_store_with_the_verdicts_that_the_manifest_asks_for(
    publish_if: str, leaves: list[str]
) -> None:
    x = with_settings(experiment(output="/child"), output={"hub": {"repo": "org/child"}, "publishIf": publish_if})
    x = x.model_copy(update={"where": x.where.model_copy(update={"hub": x.spec.output.hub})})
    for label in LABELS:
        found = run(x, World(label=label))
        (task,) = found.asked_for("publish")
        assert isinstance(task.inputs, PublishInputs)
        assert found.walk.published
        assert bool(task.inputs.destination) == bool(task.inputs.hub) == (label in leaves)
        assert found.walk.published.withheld == (label not in leaves)
        assert found.outcome == Outcome(kind="Complete", reason=label)
        assert child_place(x, found.walk, "/store") == ("/child" if label in leaves else inside(found))


def inside(found: Run) -> str:
    assert found.walk.export
    return f"/store/{layout.child(found.walk.export.recipe)}".rstrip("/")


def test_where_the_child_goes_moves_nothing_that_is_computed() -> None:
    plain = experiment()
    there = with_settings(plain, output={"hub": {"repo": "org/child"}, "publishIf": "Always"})
    assert science_of(there.spec) == science_of(plain.spec)

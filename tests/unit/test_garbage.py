"""What can go is what nothing refers to: whatever a run does after it, it does as if nothing had gone."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.garbage import Waste, waste
from darwinmerge.pipeline.known import ranked
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done, ExportSummary, PublishSummary, Result, ScoreSummary, TaskId
from darwinmerge.store import Stat, layout
from tests.unit.plan_world import (
    ANY_WORLDS,
    SEEDS,
    World,
    among,
    at_random,
    experiment,
    experiments,
    run,
    steps_of,
    with_settings,
    with_steps,
    worlds,
)

Known = dict[TaskId, Result]
FILES = ("README.md", "darwin.json", "model.safetensors", "model.safetensors.index.json")
UNSCORED = "f" * 64  # a child that is being merged and has no score yet


def kept(results: Known) -> Known:
    return {task: result for task, result in results.items() if isinstance(result, Done) or result.kind == "rejected"}


def recipes(results: Known, *kinds: type[ScoreSummary | ExportSummary | PublishSummary]) -> set[str]:
    summaries = [result.summary for result in results.values() if isinstance(result, Done)]
    return {summary.recipe for summary in summaries if isinstance(summary, kinds)}


def store(results: Known) -> list[Stat]:
    """What a store holds of these results, and all scored children staged besides, and one that isn't scored."""
    keys = [layout.EXPERIMENT, layout.RUN, layout.SUMMARY, layout.REPORT, layout.generation(1), layout.rows("a" * 64)]
    for task, result in results.items():
        if isinstance(result, Done):
            stage = result.summary.stage
            keys += [layout.result(stage, task), layout.cost(stage, task), layout.log(stage, task, "pod")]
            if isinstance(result.summary, ScoreSummary):
                keys += [layout.answers(result.summary.answers), layout.chunk(result.summary.recipe, "0" * 64, 0)]
    for recipe in recipes(results, ExportSummary):
        keys += [layout.child(recipe) + file for file in FILES]
    for recipe in recipes(results, ScoreSummary) | {UNSCORED}:
        keys += [layout.staged(recipe) + file for file in FILES]
    return [Stat(key=key, size=10) for key in sorted(set(keys))]


def folders(found: Iterable[Waste], first: str) -> set[str]:
    return {item.key.rsplit("/", 1)[0] + "/" for item in found if item.key.startswith(first)}


def after(results: Known, gone: Iterable[Waste]) -> Known:
    """The results that are left in the store."""
    keys = {item.key for item in gone}
    return {
        task: result
        for task, result in results.items()
        if not isinstance(result, Done) or layout.result(result.summary.stage, task) not in keys
    }


@settings(max_examples=20)
@given(experiments(), worlds(), SEEDS, st.integers(1, 4), st.integers(1, 6))
def test_after_it_a_run_comes_to_the_same_results_with_more_generations_and_with_fewer(
    x: Experiment, world: World, seed: int, more: int, then: int
) -> None:
    further = with_steps(x, x.spec.evolution.steps + more)
    first = kept(run(x, world, order=at_random(seed)).results)
    known = kept(run(further, world, first).results)
    cleaned = after(known, waste(further, known, store(known)))
    for steps in (then, further.spec.evolution.steps):
        other = with_steps(x, steps)
        assert run(other, world, cleaned).walk == run(other, world, known).walk


@settings(max_examples=20)
@given(experiments(), worlds(), st.integers(1, 4))
def test_no_result_that_stays_refers_to_a_child_that_goes(x: Experiment, world: World, more: int) -> None:
    further = with_steps(x, min(x.spec.evolution.steps + more, 8))
    known = kept(run(further, world, kept(run(x, world).results)).results)
    gone = waste(further, known, store(known))
    referred = recipes(after(known, gone), ExportSummary, PublishSummary)
    assert not {layout.child(recipe) for recipe in referred} & folders(gone, "children/")


@settings(max_examples=20)
@given(experiments(), ANY_WORLDS, SEEDS)
def test_the_winner_the_published_child_and_what_has_no_score_never_go(x: Experiment, world: World, seed: int) -> None:
    for _, known, _ in steps_of(x, world, {}, at_random(seed), 3):
        seen, gone = walk(x, known), waste(x, known, store(known))
        lost = folders(gone, "children/") | folders(gone, "staged/")
        assert layout.staged(UNSCORED) not in lost
        if seen.winner:
            assert layout.child(seen.winner.recipe) not in lost
        if seen.published:
            assert layout.child(seen.published.recipe) not in lost
        if not seen.outcome:
            needed = ranked(seen.generations)[: x.spec.evaluation.finalists]
            assert not {layout.staged(summary.recipe) for summary in needed} & lost
            assert not folders(gone, "children/")


def former_winner() -> tuple[Experiment, Known, str, str]:
    """A run that was given more generations and found a better child: the experiment, its results, both recipes."""
    for seed in range(50):
        x, world = experiment(steps=1, seed=seed), World(grain=0.001)
        first = run(x, world)
        second = run(with_steps(x, 4), world, first.kept)
        assert first.walk.winner and second.walk.winner
        if first.walk.winner.recipe != second.walk.winner.recipe:
            return with_steps(x, 4), second.kept, first.walk.winner.recipe, second.walk.winner.recipe
    raise AssertionError("no seed has another winner")


def test_a_former_winner_goes_with_what_refers_to_it_and_this_first() -> None:
    x, known, before, now = former_winner()
    gone = waste(x, known, store(known))
    assert folders(gone, "children/") == {layout.child(before)}
    assert layout.child(now) not in folders(gone, "children/")
    results = [item.key.split("-")[0] for item in gone if item.key.startswith("results/")]
    assert [item.key.split("-")[0] for item in gone[: len(results)]] == results
    assert sorted(results) == ["results/export", "results/publish"]
    files = [item.key for item in gone if item.key.startswith("children/")]
    assert files[0].endswith("index.json")


def test_a_run_that_goes_on_keeps_the_former_winner_until_it_has_an_outcome() -> None:
    x, known, before, _ = former_winner()
    further = with_steps(x, 5)
    assert layout.child(before) not in folders(waste(further, known, store(known)), "children/")


def test_a_child_that_was_published_stays_where_the_better_one_failed_its_health_check() -> None:
    for seed in range(50):
        x, world = experiment(steps=1, seed=seed), World(grain=0.001)
        first = run(x, world)
        second = run(with_steps(x, 4), among(world, health="Fail"), first.kept)
        assert first.walk.winner and second.walk.winner
        if first.walk.winner.recipe != second.walk.winner.recipe:
            break
    assert second.walk.published is None
    gone = waste(with_steps(x, 4), second.kept, store(second.kept))
    assert not folders(gone, "children/")


def test_staged_children_that_the_manifest_keeps_stay() -> None:
    x = with_settings(experiment(), store={"uri": "store", "retention": "All"})
    known = run(x, World()).kept
    assert not folders(waste(x, known, store(known)), "staged/")


def test_staged_children_go_by_name_when_the_run_has_ended() -> None:
    x = experiment()
    known = run(x, World()).kept
    lost = folders(waste(x, known, store(known)), "staged/")
    assert lost == {layout.staged(recipe) for recipe in recipes(known, ScoreSummary)}


def test_logs_go_only_where_they_are_old() -> None:
    x = experiment()
    known = run(x, World()).kept
    old = frozenset({layout.log_folder("mri", task) for task in known})
    assert not folders(waste(x, known, store(known)), "logs/")
    assert len(folders(waste(x, known, store(known), old), "logs/")) == 1

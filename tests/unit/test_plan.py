"""The plan over generated histories: whatever the order of arrival, whatever is missing, the run is the same run."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwinmerge.canonical import canonical, digest
from darwinmerge.experiment.experiment import Bindings, Experiment, Limits, science_of
from darwinmerge.experiment.searching import MAX_CANDIDATES
from darwinmerge.merge.recipe import Pins
from darwinmerge.pipeline import plan as plan_module
from darwinmerge.pipeline.known import Generation, Outcome, ranked
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import (
    RESULT,
    Candidate,
    Done,
    HealthSummary,
    Rejected,
    RowCounts,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
    Superseded,
    TaskId,
)
from darwinmerge.pipeline.tasks import ChildModel, MriInputs, PublishInputs, ResolveInputs, ScoreInputs, Task
from darwinmerge.report.state import child_place
from darwinmerge.search.genome import GENES, Genome
from darwinmerge.search.phase2 import Scores, propose
from darwinmerge.store import layout
from tests.unit.plan_world import (
    ANY_WORLDS,
    DOOM,
    EVERY_PART,
    LABELS,
    SEEDS,
    SOME_FOREIGN,
    WORKERS,
    Part,
    Run,
    World,
    among,
    at_random,
    experiment,
    experiments,
    part,
    run,
    steps_of,
    with_settings,
    with_steps,
    without,
    worlds,
)


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


def ids(found: Run, *parts: Part) -> set[TaskId]:
    return {task.id for task in found.asked_for(*parts)}


# Any order of arrival, any results missing.


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


# Ids.

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


# The winner.


@settings(max_examples=60)
@given(experiments(), ANY_WORLDS)
def test_the_winner_is_the_best_finalist_on_search_and_fresh_rows(x: Experiment, world: World) -> None:
    found = run(x, world)
    best = ranked(found.walk.generations)[: x.spec.evaluation.finalists]
    asked = found.asked_for("finalist")
    if not best:
        assert not asked
        return
    assert found.walk.winner
    if len(best) == 1 or not world.fresh:
        assert not asked
        assert found.walk.winner == best[0]
        return
    assert [t.inputs.sets for t in asked if isinstance(t.inputs, ScoreInputs)] == [("search", "fresh")] * len(best)
    again = [found.walk.finalists[place] for place in range(len(best))]
    assert [summary.recipe for summary in again] == [summary.recipe for summary in best]
    assert len({summary.recipe for summary in again}) == len(again)
    top = max(summary.score for summary in again)
    first = next(place for place, summary in enumerate(again) if summary.score == top)
    assert found.walk.winner == best[first]


def test_of_equal_scores_and_of_equal_recipes_the_earlier_comes_first() -> None:
    def scored(recipe: str, score: float, generation: int, index: int) -> ScoreSummary:
        place = Candidate(generation=generation, index=index, of=2, genome=WIDE[2 * generation + index])
        return ScoreSummary(score=score, n=4, recipe=recipe, answers="", env="", candidate=place)

    a, b, c, again = scored("a", 0.5, 1, 0), scored("b", 0.75, 1, 1), scored("c", 0.75, 2, 0), scored("a", 0.5, 2, 1)
    tasks: tuple[Task, ...] = ()
    generations = [Generation(1, tasks, tuple(WIDE[2:4]), (a, b)), Generation(2, tasks, tuple(WIDE[4:6]), (c, again))]
    assert ranked(generations) == [b, c, a]


def test_fresh_rows_may_overturn_the_order() -> None:
    found = [run(experiment(), World(parents=f"pair {i}")).walk for i in range(20)]
    assert any(seen.winner != ranked(seen.generations)[0] for seen in found)


@pytest.mark.parametrize(("fresh", "finals"), [(0, False), (20, True)])
def test_there_are_finals_where_any_task_has_fresh_rows(fresh: int, finals: bool) -> None:
    x, world = experiment(tasks=("nouns", "countries")), World()
    first = run(x, world, {})
    (rows,) = first.asked_for("rows")
    counts = (
        RowCounts(task="nouns", search=40, fresh=fresh, verdict=60),
        RowCounts(task="countries", search=40, fresh=0, verdict=60),
    )
    known = {rows.id: Done(task=rows.id, summary=RowsSummary(rows="0" * 64, counts=counts))}
    assert bool(run(x, world, known).asked_for("finalist")) is finals


def test_equal_recipes_are_one_finalist() -> None:
    world = World(grain=0.9)  # two values a gene: few recipes
    found = run(experiment(steps=4, candidates=4, finalists=16), world)
    scored = [summary.recipe for summary in candidates_of(found)]
    assert len(set(scored)) < len(scored)
    assert len(found.asked_for("finalist")) == len(set(scored))


def candidates_of(found: Run) -> list[ScoreSummary]:
    """What is known of each candidate that has a score."""
    results = [result for generation in found.walk.generations for result in generation.results]
    return [result for result in results if isinstance(result, ScoreSummary)]


# Algorithms.


def elites_of(found: Run) -> list[Genome]:
    assert found.walk.search
    return [Genome.of(genes) for genes in found.walk.search.elites]


def test_with_elites_and_one_candidate_step_k_merges_the_kth_elite() -> None:
    found = run(experiment(steps=10, candidates=1, algorithm="Elites"), World(elites=12))
    assert [generation.genomes for generation in found.walk.generations] == [(e,) for e in elites_of(found)[:10]]


def test_with_elites_the_run_ends_where_they_end() -> None:
    found = run(experiment(steps=4, candidates=2, algorithm="Elites"), World(elites=5))
    assert [len(generation.genomes) for generation in found.walk.generations] == [2, 2, 1]
    assert found.outcome.kind == "Complete"


def test_the_first_generation_of_cma_es_is_the_elites() -> None:
    found = run(experiment(candidates=4), World(elites=12))
    assert list(found.walk.generations[0].genomes) == elites_of(found)[:4]
    assert [len(generation.genomes) for generation in found.walk.generations] == [4, 4, 4]


def test_without_a_gene_that_matters_there_is_one_generation() -> None:
    assert len(run(experiment(), World(active=())).walk.generations) == 1


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


# Sizes.


def size(value: Any) -> int:
    return len(value.model_dump_json(by_alias=True, exclude_none=True))


LONG = "f" * 64
WIDE = [Genome.of([round(0.100001 + i / 1000 + gene / 10, 6) for gene in range(6)]) for i in range(MAX_CANDIDATES)]


def test_a_candidates_summary_fits_into_400_bytes() -> None:
    candidate = Candidate(generation=1000, index=47, of=48, genome=WIDE[0])
    for score in (0.0123456789012, 0.000123456789012, 1.23456789012e-05):  # 12 significant digits
        summary = ScoreSummary(score=score, n=99_999, recipe=LONG, answers=LONG, env=LONG[:16], candidate=candidate)
        assert size(summary) <= 400


def test_the_longest_other_summaries_fit_into_3_kib() -> None:
    elites = tuple(genome.values() for genome in WIDE)
    count = RowCounts(task="t" * 96, search=99_999, fresh=99_999, verdict=99_999)
    flagged = tuple(f"vision.{100 + layer}: FunctionLoss" for layer in range(16))
    for summary in (
        SearchSummary(history=LONG, fitness=0.123456789012, restarts=100, active=GENES, elites=elites),
        RowsSummary(rows=LONG, counts=(count,) * 3),
        HealthSummary(table=LONG, status="Flagged", layers=999, flagged=flagged),
    ):
        assert size(summary) <= 3 * 1024


def test_summaries_of_a_wide_run_are_small() -> None:
    x = experiment(steps=2, candidates=MAX_CANDIDATES, finalists=16, tasks=("nouns", "countries", "sums"))
    found = run(x, World(elites=MAX_CANDIDATES, grain=0.001), order=lambda flight: flight, workers=200)
    candidates = candidates_of(found)
    assert len(candidates) == 2 * MAX_CANDIDATES
    assert all(size(summary) <= 400 for summary in candidates)
    others = [result.summary for result in found.results.values() if isinstance(result, Done)]
    assert all(size(summary) <= 3 * 1024 for summary in others)

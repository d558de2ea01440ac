"""Which candidates there are and which of them wins: the best of the finals, and of equals the earlier."""

import pytest
from hypothesis import given, settings

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import Generation, ranked
from darwinmerge.pipeline.results import Candidate, Done, RowCounts, RowsSummary, ScoreSummary
from darwinmerge.pipeline.tasks import ScoreInputs, Task
from darwinmerge.search.genome import Genome
from tests.unit.plan_world import ANY_WORLDS, Run, World, experiment, experiments, run
from tests.unit.planned import WIDE, candidates_of

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

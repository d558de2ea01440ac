"""Phase 2 proposes genomes from the elites and the recorded scores alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.load import parse
from darwinmerge.experiment.manifest import Bounds, Spec
from darwinmerge.search import phase2
from darwinmerge.search.genome import DECIMALS, GENES, Box, Genome
from darwinmerge.search.phase2 import Scores, propose
from tests.build import manifest_text

ACTIVE: tuple[Gene, ...] = ("attn", "ffn", "density_b")
ELITES = [Genome.of([0.5, 0.1 * i, 0.9 - 0.1 * i, 0.5, 1.0, 0.5]) for i in range(10)]
Past = list[tuple[tuple[Genome, ...], Scores]]


def spec(seed: int = 3, **evolution: Any) -> Spec:
    return parse(manifest_text(evolution=evolution, seed=seed)).spec


def score(genome: Genome) -> float:
    return 1.0 - abs(genome.attn - 0.33) - abs(genome.ffn - 0.44)


def live(of: Spec, generations: int) -> Past:
    """A run from its beginning."""
    past: Past = []
    for number in range(1, generations + 1):
        genomes = propose(number, ELITES, past, ACTIVE, of)
        past.append((genomes, tuple(score(genome) for genome in genomes)))
    return past


@pytest.mark.parametrize("algorithm", ["CMAES", "Elites"])
def test_the_first_generation_is_the_first_elites(algorithm: str) -> None:
    assert propose(1, ELITES, [], ACTIVE, spec(algorithm=algorithm, candidates=3)) == tuple(ELITES[:3])


def test_elites_are_taken_in_slices_until_none_is_left() -> None:
    of = spec(algorithm="Elites", steps=10, candidates=4)
    sizes = [propose(number, ELITES, [], ACTIVE, of) for number in (1, 2, 3, 4)]
    assert sizes == [tuple(ELITES[:4]), tuple(ELITES[4:8]), tuple(ELITES[8:]), ()]


def test_one_elite_a_step_is_the_published_letter() -> None:
    of = spec(algorithm="Elites", steps=10, candidates=1)
    assert [propose(number, ELITES, [], ACTIVE, of) for number in range(1, 11)] == [(elite,) for elite in ELITES]


def test_cmaes_starts_at_the_best_measured_elite() -> None:
    scores = (0.2, 0.9, 0.4, 0.1)
    genomes = propose(2, ELITES, [(ELITES[:4], scores)], ACTIVE, spec(sigma0="0.000001"))
    assert len(genomes) == 4
    for genome in genomes:
        assert Box(ACTIVE, Bounds()).distance(genome, ELITES[1]) < 1e-4


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.5, 0.5, 0.1, 0.1), 0),
        ((None, 0.0, None, None), 1),
        ((None, None, None, None), 0),
        ((None, -1.0, -2.0, None), 1),
    ],
)
def test_of_equals_the_first_is_best_and_a_failure_never_is(scores: Scores, best: int) -> None:
    genomes = propose(2, ELITES, [(ELITES[:4], scores)], ACTIVE, spec(sigma0="0.000001"))
    assert Box(ACTIVE, Bounds()).distance(genomes[0], ELITES[best]) < 1e-4


def test_elites_are_not_told_to_cmaes_only_the_best_of_them_counts() -> None:
    one, other = (0.1, 0.9, 0.4, 0.3), (0.8, 0.9, 0.0, None)
    assert propose(2, ELITES, [(ELITES[:4], one)], ACTIVE, spec()) == propose(
        2, ELITES, [(ELITES[:4], other)], ACTIVE, spec()
    )


def test_genes_without_effect_stay_fixed() -> None:
    for genomes, _ in live(spec(), 4)[1:]:
        assert {(genome.ratio, genome.embed, genome.density_a) for genome in genomes} == {(0.5, 0.5, 1.0)}


def test_without_a_gene_that_has_an_effect_there_is_one_generation() -> None:
    assert propose(2, ELITES, [(ELITES[:1], (0.5,))], (), spec()) == ()


def test_a_replay_from_recorded_scores_proposes_what_the_live_run_did() -> None:
    past = live(spec(), 6)
    phase2._points.cache_clear()
    for number in (6, 2, 4, 3, 5, 1):
        assert propose(number, ELITES, past[: number - 1], ACTIVE, spec()) == past[number - 1][0]


def test_what_is_proposed_does_not_depend_on_the_number_of_steps() -> None:
    assert live(spec(steps=3), 3) == live(spec(steps=9), 3)


def test_seed_and_scores_change_what_is_proposed() -> None:
    past = live(spec(), 2)
    other = [past[0], (past[1][0], past[1][1][::-1])]
    assert propose(3, ELITES, past, ACTIVE, spec()) != propose(3, ELITES, other, ACTIVE, spec())
    assert propose(2, ELITES, past[:1], ACTIVE, spec(3)) != propose(2, ELITES, past[:1], ACTIVE, spec(4))


def test_a_rejected_candidate_steers_by_its_rank_only() -> None:
    past = live(spec(), 2)
    genomes, scores = past[1]
    failed = (*scores[:3], None)
    worst = (*scores[:3], -100.0)
    assert propose(3, ELITES, [past[0], (genomes, failed)], ACTIVE, spec()) == propose(
        3, ELITES, [past[0], (genomes, worst)], ACTIVE, spec()
    )


def test_evolution_improves_on_the_elites() -> None:
    past = live(spec(candidates=6), 12)
    best = [max(s for s in scores if s is not None) for _, scores in past]
    assert max(best) > best[0] + 0.02


@given(st.lists(st.floats(0, 1), min_size=len(GENES), max_size=len(GENES)))
def test_a_genome_lies_on_the_grid_and_is_found_again_by_its_point(values: list[float]) -> None:
    genome, box = Genome.of(values), Box(GENES, Bounds())
    assert genome.values() == tuple(round(value, DECIMALS) for value in values)
    again = box.genome(box.point(genome))
    for gene in GENES:
        allowed = getattr(Bounds(), gene)
        within = min(max(getattr(genome, gene), allowed.min), allowed.max)
        assert getattr(again, gene) == pytest.approx(within, abs=1e-6)


def test_the_distance_of_two_genomes_is_their_greatest_difference_over_active_genes() -> None:
    one = Genome.of([0.1, 0.5, 0.5, 0.5, 1.0, 0.5])
    other = Genome.of([0.9, 0.6, 0.2, 0.5, 1.0, 0.5])
    assert Box(ACTIVE, Bounds()).distance(one, other) == pytest.approx(0.3)
    assert Box((), Bounds()).distance(one, other) == 0.0

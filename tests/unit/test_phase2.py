"""Phase 2 proposes genomes from the elites and the recorded scores alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.canonical import canonical
from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.load import parse
from darwinmerge.experiment.manifest import Spec
from darwinmerge.experiment.searching import Bounds, Breeding, Search
from darwinmerge.search import phase2
from darwinmerge.search.genome import DECIMALS, GENES, Box, Genome
from darwinmerge.search.phase2 import Scores, propose
from tests.build import manifest_text

SEARCHES = ["CMAES", "Genetic"]
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


@pytest.mark.parametrize("algorithm", [*SEARCHES, "Elites"])
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


def test_to_genetic_the_elites_are_the_first_parents() -> None:
    of = spec(algorithm="Genetic", sigma0="0.000001")
    for scores, parents in (((0.9, 0.1, 0.8, 0.2), (0, 2)), ((0.1, 0.9, None, 0.8), (1, 3))):
        low, high = (ELITES[i].attn for i in parents)
        for genome in propose(2, ELITES, [(ELITES[:4], scores)], ACTIVE, of):
            assert low - 0.01 < genome.attn < high + 0.01
            assert genome.ffn == pytest.approx(0.9 - genome.attn, abs=0.02)


def test_fewer_elites_than_candidates_are_a_whole_first_generation() -> None:
    of = spec(algorithm="Genetic")
    assert len(propose(2, ELITES[:1], [(ELITES[:1], (0.5,))], ACTIVE, of)) == 4


def test_genetic_searches_with_one_candidate_a_step() -> None:
    past = live(spec(algorithm="Genetic", candidates=1), 5)
    assert [len(genomes) for genomes, _ in past] == [1] * 5


def test_genetic_breeds_from_where_candidates_were_measured_and_cmaes_from_where_it_asked() -> None:
    """Another machine's recorded genomes may differ from those that would be proposed here."""
    moved = tuple(Genome.of([0.5, 0.3 + 0.01 * i, 0.4, 0.5, 1.0, 0.5]) for i in range(4))
    for algorithm, same in (("CMAES", True), ("Genetic", False)):
        past = live(spec(algorithm=algorithm), 2)
        elsewhere = [past[0], (moved, past[1][1])]
        found = propose(3, ELITES, elsewhere, ACTIVE, spec(algorithm=algorithm))
        assert (found == propose(3, ELITES, past, ACTIVE, spec(algorithm=algorithm))) == same


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_genes_without_effect_stay_fixed(algorithm: str) -> None:
    for genomes, _ in live(spec(algorithm=algorithm), 4)[1:]:
        assert {(genome.ratio, genome.embed, genome.density_a) for genome in genomes} == {(0.5, 0.5, 1.0)}


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_without_a_gene_that_has_an_effect_there_is_one_generation(algorithm: str) -> None:
    assert propose(2, ELITES, [(ELITES[:1], (0.5,))], (), spec(algorithm=algorithm)) == ()


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_a_replay_from_recorded_scores_proposes_what_the_live_run_did(algorithm: str) -> None:
    of = spec(algorithm=algorithm)
    past = live(of, 6)
    phase2._cmaes.cache_clear()
    phase2._genetic.cache_clear()
    for number in (6, 2, 4, 3, 5, 1):
        assert propose(number, ELITES, past[: number - 1], ACTIVE, of) == past[number - 1][0]


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_what_is_proposed_does_not_depend_on_the_number_of_steps(algorithm: str) -> None:
    assert live(spec(steps=3, algorithm=algorithm), 3) == live(spec(steps=9, algorithm=algorithm), 3)


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_seed_and_scores_change_what_is_proposed(algorithm: str) -> None:
    of, otherwise = (spec(seed, algorithm=algorithm) for seed in (3, 4))
    past = live(of, 2)
    other = [past[0], (past[1][0], past[1][1][::-1])]
    assert propose(3, ELITES, past, ACTIVE, of) != propose(3, ELITES, other, ACTIVE, of)
    assert propose(2, ELITES, past[:1], ACTIVE, of) != propose(2, ELITES, past[:1], ACTIVE, otherwise)


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_a_rejected_candidate_steers_by_its_rank_only(algorithm: str) -> None:
    of = spec(algorithm=algorithm)
    past = live(of, 2)
    genomes, scores = past[1]
    failed = (*scores[:3], None)
    worst = (*scores[:3], -100.0)
    assert propose(3, ELITES, [past[0], (genomes, failed)], ACTIVE, of) == propose(
        3, ELITES, [past[0], (genomes, worst)], ACTIVE, of
    )


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_a_recorded_nan_is_an_error(algorithm: str) -> None:
    scores = (0.1, 0.2, float("nan"), 0.3)
    with pytest.raises(ValueError, match="score 2 of a generation is nan"):
        propose(2, ELITES, [(ELITES[:4], scores)], ACTIVE, spec(algorithm=algorithm))


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_evolution_improves_on_the_elites(algorithm: str) -> None:
    past = live(spec(candidates=6, algorithm=algorithm), 12)
    best = [max(s for s in scores if s is not None) for _, scores in past]
    assert max(best) > best[0] + 0.02


@given(st.tuples(*[st.floats(0, 1)] * 4, *[st.floats(0.001, 1)] * 2))
def test_a_genome_lies_on_the_grid_and_is_found_again_by_its_point(values: tuple[float, ...]) -> None:
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


def test_settings_that_cmaes_does_not_need_are_left_out_of_digests() -> None:
    """So an experiment of before they existed keeps its ids."""
    assert canonical(Search(breeding=Breeding(parents=0.5, decay=0.9))) == b"{}"
    assert canonical(spec(breeding={"parents": "0.5"}).evolution) == b"{}"
    assert canonical(Search(algorithm="Genetic")) == b'{"algorithm":"Genetic"}'

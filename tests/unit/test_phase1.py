"""Phase 1 spreads genomes over the heuristic: repeatable, restarted where it converges, its elites apart."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.experiment.kinds import gene_of
from darwinmerge.experiment.merging import Merge, Transplant
from darwinmerge.experiment.searching import Bounds, Densities, Fitness, Range, Search
from darwinmerge.merge.recipe import Mixing
from darwinmerge.mri.table import TensorRow
from darwinmerge.search import phase1
from darwinmerge.search.fitness import Heuristic
from darwinmerge.search.genome import DECIMALS, GENES, Box, Genome, active_genes
from darwinmerge.search.phase1 import HistoryRow, elites, evolve
from tests.build import row, table

MIXING = Mixing(mri_weight=0.7, merge=Merge())
SEARCH = Search()
ATTN, FFN, NORM = "layers.0.self_attn.q_proj.weight", "layers.0.mlp.up_proj.weight", "model.norm.weight"


def active(rows: Sequence[TensorRow], weight: float = 0.7) -> tuple[str, ...]:
    return active_genes(rows, Transplant(), weight)


def searched(rows: Sequence[TensorRow], seed: int = 0, mixing: Mixing = MIXING, **settings: object) -> list[HistoryRow]:
    return evolve(rows, mixing, Search(**settings), seed, lambda done, total: None)


@pytest.fixture(scope="module", params=["CMAES", "Genetic"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(algorithm: str) -> list[HistoryRow]:
    """The published search: 200 steps of 20."""
    return searched(table(), algorithm=algorithm)


def test_all_steps_are_run_in_order(whole: list[HistoryRow]) -> None:
    assert [(found.step, found.index) for found in whole] == [(s, i) for s in range(1, 201) for i in range(20)]


def test_the_whole_search_is_deterministic(whole: list[HistoryRow], algorithm: str) -> None:
    assert searched(table(), algorithm=algorithm) == whole


def test_the_global_generator_has_no_influence_and_is_left_alone(whole: list[HistoryRow], algorithm: str) -> None:
    np.random.seed(5)
    before = str(np.random.get_state(legacy=False))
    plain = searched(table(), steps=10, algorithm=algorithm)
    assert str(np.random.get_state(legacy=False)) == before
    assert plain == whole[: 10 * 20]

    def reseed(done: int, total: int) -> None:  # as lm-eval does
        np.random.seed(1234)

    assert evolve(table(), MIXING, Search(steps=10, algorithm=algorithm), 0, reseed) == plain


def test_another_seed_searches_elsewhere(whole: list[HistoryRow], algorithm: str) -> None:
    assert searched(table(), 1, steps=1, algorithm=algorithm)[0].genome != whole[0].genome


def test_the_algorithms_search_elsewhere() -> None:
    one, other = (searched(table(), steps=2, algorithm=name) for name in ("CMAES", "Genetic"))
    assert {found.genome for found in one}.isdisjoint({found.genome for found in other})


def test_fewer_steps_are_the_beginning_of_more(whole: list[HistoryRow], algorithm: str) -> None:
    assert searched(table(), steps=30, algorithm=algorithm) == whole[: 30 * 20]


def test_the_history_is_rounded_genes_to_their_grid_and_fitness_to_12_digits(whole: list[HistoryRow]) -> None:
    for found in whole:
        assert found.genome.values() == tuple(round(gene, DECIMALS) for gene in found.genome.values())
        assert found.fitness == float(f"{found.fitness:.11e}")


def test_fitness_is_that_of_the_recorded_genome(whole: list[HistoryRow]) -> None:
    """Not that of the point asked for, which has more digits."""
    fitness = Heuristic(table(), MIXING, Fitness())
    assert [fitness(found.genome) for found in whole[::97]] == [found.fitness for found in whole[::97]]


def test_restarts_are_counted_and_begin_elsewhere(whole: list[HistoryRow]) -> None:
    starts = [found.start for found in whole]
    assert starts == sorted(starts)
    assert set(starts) == set(range(starts[-1] + 1))
    assert starts[-1] >= 1
    first, second = (next(f.genome for f in whole if f.start == n) for n in (0, 1))
    last = [found.genome for found in whole if found.start == 0][-1]
    assert Box(active(table()), Bounds()).distance(second, last) > 0.01  # type: ignore[arg-type]
    assert first != second


def test_progress_is_told_after_every_step() -> None:
    seen: list[tuple[int, int]] = []
    evolve(table(), MIXING, Search(steps=4, population=3), 0, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_elites_are_the_best_first_and_lie_apart(whole: list[HistoryRow]) -> None:
    genes = active_genes(table(), Transplant(), 0.7)
    found, box = elites(whole, genes, SEARCH), Box(genes, Bounds())
    assert len(found) >= 4
    assert found[0] == max(whole, key=lambda one: one.fitness).genome
    for i, one in enumerate(found):
        assert all(box.distance(one, other) >= 0.1 for other in found[:i])


def test_fewer_elites_are_the_first_of_more(whole: list[HistoryRow], monkeypatch: pytest.MonkeyPatch) -> None:
    genes = active_genes(table(), Transplant(), 0.7)
    many = elites(whole, genes, SEARCH)
    monkeypatch.setattr(phase1, "MAX_CANDIDATES", 3)
    assert elites(whole, genes, SEARCH) == many[:3]


def test_of_equal_fitness_the_earlier_genome_is_the_elite(whole: list[HistoryRow]) -> None:
    twins = [found.model_copy(update={"fitness": 0.5}) for found in (whole[0], whole[1])]
    assert elites(twins[::-1], active_genes(table(), Transplant(), 0.7), SEARCH)[0] == whole[0].genome


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_active_gene_of_the_optimum_lies_at_a_bound(seed: int, algorithm: str) -> None:
    history = searched(table(), seed, algorithm=algorithm)
    best = max(history, key=lambda one: one.fitness).genome
    for gene, value in zip(GENES, best.values(), strict=True):
        if gene in active(table()):
            bounds = getattr(Bounds(), gene)
            margin = 0.02 * (bounds.max - bounds.min)
            assert bounds.min + margin <= value <= bounds.max - margin, gene


def test_genes_stay_within_their_bounds_and_those_without_effect_stay_fixed() -> None:
    bounds = Bounds(ffn=Range(min=0.4, max=0.6), density_b=Densities(min=0.7, max=0.75))
    history = searched([row(FFN), row(NORM, presence="identical")], steps=10, bounds=bounds)
    assert all(0.4 <= found.genome.ffn <= 0.6 and 0.7 <= found.genome.density_b <= 0.75 for found in history)
    fixed = {(f.genome.ratio, f.genome.attn, f.genome.embed, f.genome.density_a) for f in history}
    assert fixed == {(0.5, 0.5, 0.5, 1.0)}


def test_a_search_without_any_gene_runs_on_one_genome(algorithm: str) -> None:
    history = searched([row(FFN, presence="identical")], steps=3, population=4, algorithm=algorithm)
    assert len(history) == 12
    assert len({found.genome for found in history}) == 1


def test_the_mri_table_changes_the_ranking() -> None:
    """Two genomes that mirror each other change places when the prescriptions are mirrored."""
    one = Genome(ratio=0.5, attn=0.5, ffn=0.8, embed=0.5, density_a=1.0, density_b=0.8)
    other = one.model_copy(update={"ffn": 0.2})
    low, high = ([row(FFN, ratio), row(ATTN, ratio)] for ratio in (0.4, 0.6))
    of_low, of_high = (Heuristic(rows, MIXING, Fitness()) for rows in (low, high))
    assert of_low(one) > of_low(other)
    assert of_high(one) < of_high(other)


def test_the_fitness_is_the_documented_formula() -> None:
    rows = [row(FFN, 0.4, size=3000), row(ATTN, 0.7, size=1000)]
    genome = Genome(ratio=0.5, attn=0.9, ffn=0.5, embed=0.5, density_a=1.0, density_b=0.6)
    ffn, attn = 0.4 * 0.7 + 0.5 * 0.3, 0.7 * 0.7 + 0.9 * 0.3
    mean = 0.75 * ffn + 0.25 * attn
    x = (0.75 * (ffn - mean) ** 2 + 0.25 * (attn - mean) ** 2) ** 0.5 / 0.05
    y = 0.6 / 0.8
    e = 2.718281828459045
    expected = 0.5 * (1 - abs(2 * mean - 1)) + 0.4 * x * e ** (1 - x) + 0.1 * y * e ** (1 - y)
    assert Heuristic(rows, MIXING, Fitness())(genome) == pytest.approx(expected, rel=1e-11)


def plain_fitness(rows: Sequence[TensorRow], genome: Genome, weight: float) -> float:
    """METHOD's formula, tensor by tensor."""
    differ = [row for row in rows if row.presence == "both"]
    sizes = np.array([row.size for row in differ], dtype=np.float64)

    def final(row: TensorRow) -> float:
        if not row.flag and not 0.05 <= row.ratio_b <= 0.95:
            return 0.0 if row.ratio_b < 0.05 else 1.0
        return row.ratio_b * weight + float(getattr(genome, gene_of(row.kind))) * (1 - weight)

    ratios = np.array([final(row) for row in differ])
    mean = np.average(ratios, weights=sizes) if len(sizes) else 0.0
    x = math.sqrt(np.average((ratios - mean) ** 2, weights=sizes)) / 0.05 if len(sizes) else 0.0
    y = genome.density_b / 0.8
    balance = 1 - abs(2 * mean - 1) if len(sizes) else 0.0
    return float(0.5 * balance + 0.4 * x * math.exp(1 - x) + 0.1 * y * math.exp(1 - y))


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from([ATTN, FFN, NORM, "lm_head.weight"]),
        st.floats(0, 1) | st.sampled_from([0.05, 0.95, 0.049, 0.951, 0.5]),
        st.integers(1, 10**9),
        st.sampled_from(["both", "both", "both", "identical", "only-in-father"]),
        flag=st.sampled_from(["", "", "", "degenerate"]),
    ),
    max_size=12,
)
GENOMES = st.tuples(*[st.floats(0, 1)] * 4, *[st.floats(0.001, 1)] * 2).map(Genome.of)


@given(ROWS, GENOMES, st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_the_moments_of_genes_give_the_formula_over_tensors(
    rows: list[TensorRow], genome: Genome, weight: float
) -> None:
    found = Heuristic(rows, Mixing(mri_weight=weight, merge=Merge()), Fitness())(genome)
    assert found == pytest.approx(plain_fitness(rows, genome, weight), rel=1e-11, abs=1e-13)


def test_a_table_of_close_prescriptions_loses_no_digit() -> None:
    """Between two fine-tunes they differ in the third digit: a mean of squares less a squared mean would cancel."""
    generator = np.random.default_rng(0)
    names = [ATTN, FFN, NORM]
    rows = [row(names[i % 3], 0.5 + 1e-6 * generator.normal(), int(generator.integers(1, 10**8))) for i in range(760)]
    for genome in (Genome.of([0.5, 0.5, 0.5, 0.5, 1, 0.8]), Genome.of([0.1, 0.9, 0.4, 0.3, 1, 0.5])):
        assert Heuristic(rows, MIXING, Fitness())(genome) == pytest.approx(plain_fitness(rows, genome, 0.7), rel=1e-11)


@given(ROWS, GENOMES, st.integers(0, 9))
def test_the_order_of_tensors_changes_no_bit_of_the_fitness(rows: list[TensorRow], genome: Genome, seed: int) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert Heuristic(rows, MIXING, Fitness())(genome) == Heuristic(shuffled, MIXING, Fitness())(genome)


def test_transplanted_tensors_count_as_whole_copies() -> None:
    genome = Genome.of([0.5, 0.5, 0.5, 0.5, 1.0, 0.8])
    rows = [row(FFN, 0.01), row(ATTN, 0.99)]
    balanced = Heuristic(rows, MIXING, Fitness(balance=1, differentiation=0, density=0))
    assert balanced(genome) == 1.0
    assert Heuristic(rows[:1], MIXING, Fitness(balance=1, differentiation=0, density=0))(genome) == 0.0


def test_a_flagged_tensor_is_merged_so_its_gene_has_an_effect() -> None:
    """Under `mri.degenerate: Published` a degenerate tensor may have an extreme prescription; it is still merged."""
    rows = [row(FFN, 1.0, flag="degenerate")]
    assert active(rows) == ("ffn", "density_b")
    fitness = Heuristic(rows, Mixing(mri_weight=0.0, merge=Merge()), Fitness(balance=1, differentiation=0, density=0))
    assert fitness(Genome.of([0.5, 0.5, 0.5, 0.5, 1.0, 0.8])) == 1.0


@pytest.mark.parametrize(
    ("rows", "weight", "genes"),
    [
        (table(), 0.7, ("ratio", "attn", "ffn", "embed", "density_b")),
        ([row(FFN)], 0.7, ("ffn", "density_b")),
        ([row(FFN)], 1.0, ("density_b",)),
        ([row(FFN), row(ATTN, 0.01)], 0.7, ("ffn", "density_b")),
        ([row(FFN), row(ATTN, presence="identical")], 0.7, ("ffn", "density_b")),
        ([row(FFN, presence="only-in-mother")], 0.7, ()),
        ([row(FFN, 0.99)], 0.7, ()),
        ([], 0.7, ()),
    ],
)
def test_only_genes_that_change_the_child_are_searched(
    rows: list[TensorRow], weight: float, genes: tuple[str, ...]
) -> None:
    assert active(rows, weight) == genes

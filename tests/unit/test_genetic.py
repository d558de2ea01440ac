"""Genetic search: the best are parents, children lie on arcs between them, and nothing but ranks and seed counts."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from darwinmerge.experiment.searching import Breeding
from darwinmerge.search.genetic import Genetic, slerp
from darwinmerge.search.genome import DECIMALS
from darwinmerge.search.ranking import ranking

Scores = Sequence[float | None]
Points = list[list[float]]
STILL = 1e-9  # a mutation's step that moves nothing on the grid
SQUARE = [[0.9, 0.5], [0.5, 0.9], [0.1, 0.5], [0.5, 0.1]]


def towards_a_third(point: list[float]) -> float:
    return -sum((x - 0.3) ** 2 for x in point)


def genetic(dimensions: int = 4, sigma: float = 0.3, population: int = 8, seed: int = 1, **breeding: float) -> Genetic:
    return Genetic([0.5] * dimensions, sigma, population, seed, Breeding(**breeding))


def run(
    search: Genetic,
    rounds: int = 6,
    score: Callable[[list[float]], float | None] = towards_a_third,
    between: Callable[[], object] = lambda: None,
) -> list[Points]:
    """All points of a search."""
    generations = []
    for _ in range(rounds):
        between()
        points = search.ask()
        search.tell([score(point) for point in points])
        generations.append(points)
    return generations


def bred(scores: Scores, first: Points = SQUARE, population: int = 30, sigma: float = STILL) -> Points:
    """The children of a first generation with those scores."""
    search = Genetic(first[0], sigma, population, 4, Breeding(parents=2 / population), first)
    search.ask()
    search.tell(scores)
    return search.ask()


# ---- selection


def on_arc(point: list[float], one: int, other: int) -> bool:
    """Whether a point lies on the quarter circle between two corners of SQUARE."""
    u, v = ([x - 0.5 for x in SQUARE[i]] for i in (one, other))
    place = [x - 0.5 for x in point]
    between = all(sum(x * y for x, y in zip(place, w, strict=True)) >= -1e-6 for w in (u, v))
    return between and abs(math.hypot(*place) - 0.4) < 1e-5


@pytest.mark.parametrize(
    ("scores", "parents"), [([4, 3, 2, 1], (0, 1)), ([1, 4, 3, 2], (1, 2)), ([4, 1, 2, 3], (0, 3))]
)
def test_the_best_are_parents(scores: Scores, parents: tuple[int, int]) -> None:
    children = bred(scores)
    assert all(on_arc(child, *parents) for child in children)
    assert len({tuple(child) for child in children}) > 20


def test_only_the_order_of_scores_matters() -> None:
    assert bred([0.4, 0.1, 0.3, 0.2]) == bred([1000.0, -5.0, 0.31, 0.3])


def test_of_equal_scores_the_first_ranks_before_the_second() -> None:
    assert bred([0.4, 0.3, 0.3, 0.3]) == bred([4, 3, 2, 1])


def test_a_failure_is_no_parent_while_there_is_a_score() -> None:
    assert bred([None, None, -7.0, None]) == [SQUARE[2]] * 30


def test_a_generation_of_failures_goes_on() -> None:
    assert bred([None] * 4) == bred([4, 3, 2, 1])


def test_the_best_stays_a_parent_and_is_not_measured_again() -> None:
    search = Genetic([0.5, 0.5], 0.05, 6, 1, Breeding(parents=0.1), [[0.9, 0.5], [0.5, 0.9]])
    seen = []
    for number in range(6):
        points = search.ask()
        seen += [tuple(point) for point in points]
        search.tell([2.0 - i if number == 0 else -float(number) for i in range(len(points))])
    assert len(set(seen)) == len(seen)
    assert all(math.dist(point, (0.5, 0.5)) > 0.2 for point in seen)  # still children of the first two


def test_a_child_that_is_better_takes_a_parents_place() -> None:
    search = Genetic([0.5] * 2, STILL, 3, 1, Breeding(parents=0.1), [[0.9, 0.5], [0.5, 0.9]])
    search.ask()
    search.tell([1, 1])
    search.ask()
    search.tell([2, 2, 0], points=[[0.2, 0.2], [0.3, 0.1], [0.0, 0.0]])
    assert all(x < 0.5 and y < 0.5 for x, y in search.ask())


# ---- crossover

NUMBERS = st.floats(0, 1)
SPACES = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * 2))


def from_centre(point: Sequence[float]) -> float:
    return math.dist(point, [0.5] * len(point))


@given(SPACES, NUMBERS)
def test_distances_from_the_centre_are_interpolated_linearly(pair: tuple[list[float], list[float]], t: float) -> None:
    one, other = pair
    u, v = (np.array(point) - 0.5 for point in pair)
    assume(min(np.linalg.norm(u), np.linalg.norm(v)) > 1e-3)
    assume(abs(u @ v) < 0.999999 * np.linalg.norm(u) * np.linalg.norm(v))
    expected = (1 - t) * from_centre(one) + t * from_centre(other)
    assert from_centre(slerp(one, other, t)) == pytest.approx(expected, rel=1e-9)


@given(NUMBERS)
def test_directions_turn_evenly(share: float) -> None:
    x, y = slerp([0.9, 0.5], [0.5, 0.7], share)
    assert math.atan2(y - 0.5, x - 0.5) == pytest.approx(share * math.pi / 2, abs=1e-12)


@given(SPACES)
def test_an_arc_begins_at_one_parent_and_ends_at_the_other(pair: tuple[list[float], list[float]]) -> None:
    one, other = pair
    assert slerp(one, other, 0.0) == pytest.approx(one, abs=1e-9)
    assert slerp(one, other, 1.0) == pytest.approx(other, abs=1e-9)


@given(SPACES, NUMBERS)
def test_an_arc_is_the_same_from_both_ends(pair: tuple[list[float], list[float]], share: float) -> None:
    one, other = pair
    assert slerp(one, other, share) == pytest.approx(slerp(other, one, 1 - share), abs=1e-9)


def turned(angle: float) -> list[float]:
    return [0.5 + 0.4 * math.cos(angle), 0.5 + 0.4 * math.sin(angle)]


@pytest.mark.parametrize("angle", [0.0, 0.9e-6, math.pi - 0.9e-6, math.pi])
def test_below_a_millionth_and_near_pi_it_is_a_line(angle: float) -> None:
    one, other = turned(0.0), turned(angle)
    expected = [0.75 * x + 0.25 * y for x, y in zip(one, other, strict=True)]
    assert slerp(one, other, 0.25) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("angle", [1.1e-6, 1e-3, math.pi - 1e-3, math.pi - 1.1e-6])
def test_elsewhere_it_is_an_arc_even_by_a_hair(angle: float) -> None:
    assert slerp(turned(0.0), turned(angle), 0.25) == pytest.approx(turned(0.25 * angle), abs=1e-9)


@pytest.mark.parametrize("pair", [([0.5, 0.5], [0.9, 0.1]), ([0.9, 0.1], [0.5, 0.5]), ([0.5, 0.5], [0.5, 0.5])])
def test_from_or_to_the_centre_it_is_a_line(pair: tuple[list[float], list[float]]) -> None:
    one, other = pair
    assert slerp(one, other, 0.5) == pytest.approx([(x + y) / 2 for x, y in zip(one, other, strict=True)])


def test_a_child_outside_the_bounds_is_clipped() -> None:
    corners = [[1.0, 1.0], [0.0, 1.0]]
    assert max(slerp(corners[0], corners[1], 0.5)) > 1.2
    assert max(max(child) for child in bred([2, 1], corners)) == 1.0


# ---- mutation


def test_a_mutation_is_gaussian_and_alike_for_every_gene() -> None:
    children = np.array(bred([1.0], [[0.5, 0.5, 0.5]], population=4000, sigma=0.05))
    assert children.mean(axis=0) == pytest.approx([0.5] * 3, abs=0.005)
    assert children.std(axis=0) == pytest.approx([0.05] * 3, rel=0.05)
    assert np.abs(np.corrcoef(children.T)[np.triu_indices(3, 1)]).max() < 0.06


def test_the_step_shrinks_with_every_generation_of_children() -> None:
    search = Genetic([0.5], 0.1, 2000, 1, Breeding(parents=1e-6, decay=0.5), [[0.5]])
    search.ask()
    search.tell([1.0])
    for step in (0.1, 0.05, 0.025):
        assert np.std(search.ask()) == pytest.approx(step, rel=0.06)
        search.tell([None] * 2000)


def test_it_has_converged_where_the_step_is_finer_than_the_grid() -> None:
    search = genetic(decay=0.5)
    for number in range(40):
        assert search.converged == (0.3 * 0.5 ** max(0, number - 1) < 10.0**-DECIMALS)
        search.ask()
        search.tell([0.0] * 8)
    assert search.converged


# ---- the search, as CMA-ES's


@pytest.mark.parametrize("seed", [0, 1, 2**53 - 1])
def test_one_seed_gives_the_same_points_again(seed: int) -> None:
    assert run(genetic(seed=seed)) == run(genetic(seed=seed))


def test_another_seed_gives_other_points() -> None:
    assert run(genetic(seed=1))[0] != run(genetic(seed=2))[0]


def test_the_global_generator_has_no_influence_and_is_left_alone() -> None:
    np.random.seed(5)
    before = str(np.random.get_state(legacy=False))
    plain = run(genetic())
    assert str(np.random.get_state(legacy=False)) == before
    assert run(genetic(), between=lambda: np.random.seed(7)) == plain


def test_points_lie_on_the_grid_within_the_unit_cube() -> None:
    points = np.array(run(genetic(), rounds=30, score=sum))
    assert points.min() >= 0.0
    assert points.max() <= 1.0
    assert np.array_equal(points, points.round(DECIMALS))


def test_it_finds_the_best_point() -> None:
    last = np.array(run(genetic(population=20), rounds=60)[-1])
    assert np.abs(last - 0.3).max() < 0.01


@pytest.mark.parametrize("population", [1, 2, 3])
def test_a_small_population_is_searched(population: int) -> None:
    generations = run(genetic(population=population), rounds=5)
    assert [len(points) for points in generations] == [population] * 5


@pytest.mark.parametrize("dimensions", [0, 1])
def test_few_dimensions_are_searched(dimensions: int) -> None:
    generations = run(genetic(dimensions=dimensions), rounds=5)
    assert {len(point) for points in generations for point in points} == {dimensions}
    assert genetic(dimensions=dimensions).dimensions == dimensions


def test_the_first_generation_may_be_given_and_of_any_size() -> None:
    search = Genetic([0.5, 0.5], 0.1, 5, 1, Breeding(), SQUARE[:3])
    assert search.ask() == SQUARE[:3]
    search.tell([1, 2, 3])
    assert len(search.ask()) == 5


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_nan_is_never_accepted(score: float) -> None:
    search = genetic(population=2)
    search.ask()
    with pytest.raises(ValueError, match=r"score 1 of a generation is"):
        search.tell([0.5, score])


def test_telling_without_asking_or_twice_or_in_part_is_an_error() -> None:
    search = genetic(population=2)
    with pytest.raises(ValueError, match="before it was asked for"):
        search.tell([0.5, 0.5])
    search.ask()
    with pytest.raises(ValueError, match="1 scores were told for the 2 points"):
        search.tell([0.5])
    search.tell([0.5, 0.5])
    with pytest.raises(ValueError, match="before it was asked for"):
        search.tell([0.5, 0.5])


# ---- ranks


@given(st.lists(st.none() | st.floats(-10, 10) | st.sampled_from([0.0, -0.0, 0.5])))
def test_a_ranking_is_best_first_failures_last_and_ties_by_order(scores: list[float | None]) -> None:
    order = ranking(scores)
    assert sorted(order) == list(range(len(scores)))
    for before, after in pairwise(order):
        one, other = scores[before], scores[after]
        if other is None:
            assert one is not None or before < after
        else:
            assert one is not None
            assert one > other or (one == pytest.approx(other, rel=1e-11) and (one > other or before < after))


def test_scores_that_agree_in_12_digits_are_equal() -> None:
    assert ranking([0.1 + 0.2, 0.3, 0.3 + 1e-13]) == [0, 1, 2]
    assert ranking([0.3, 0.3 + 1e-11]) == [1, 0]

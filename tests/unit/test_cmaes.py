"""CMA-ES gives the same points for the same seed and the same ranks, whatever else uses random numbers."""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pytest

from darwinmerge.search.cmaes import CmaEs

Scores = Sequence[float | None]


def towards_a_third(point: list[float]) -> float:
    return -sum((x - 0.3) ** 2 for x in point)


def run(
    seed: int = 1,
    rounds: int = 6,
    dimensions: int = 4,
    population: int = 8,
    score: Callable[[list[float]], float | None] = towards_a_third,
    between: Callable[[], object] = lambda: None,
) -> list[list[list[float]]]:
    """All points of a search."""
    search, generations = CmaEs([0.5] * dimensions, 0.3, population, seed), []
    for _ in range(rounds):
        between()
        points = search.ask()
        search.tell([score(point) for point in points])
        generations.append(points)
    return generations


@pytest.mark.parametrize("seed", [0, 1, 2**53 - 1])
def test_one_seed_gives_the_same_points_again(seed: int) -> None:
    assert run(seed) == run(seed)


def test_seed_0_is_not_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(seed=0)
    ticks = count(1_000_000_000, 12_345)
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    assert run(seed=0) == plain


def test_another_seed_gives_other_points() -> None:
    assert run(1)[0] != run(2)[0]


def test_the_global_generator_has_no_influence() -> None:
    assert run(between=lambda: np.random.seed(7)) == run(between=lambda: np.random.random(3))


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state(legacy=False)
    run()
    after = np.random.get_state(legacy=False)
    assert str(before) == str(after)


def test_points_stay_within_the_unit_cube() -> None:
    points = np.array(run(rounds=30, score=lambda point: sum(point)))
    assert points.min() >= 0.0
    assert points.max() <= 1.0


def test_it_finds_the_best_point() -> None:
    last = np.array(run(rounds=60)[-1])
    assert np.abs(last - 0.3).max() < 0.01


def told(scores: Scores) -> list[list[float]]:
    """What is asked after a first generation with those scores."""
    search = CmaEs([0.5] * 3, 0.3, len(scores), 4)
    search.ask()
    search.tell(scores)
    return search.ask()


def test_only_the_order_of_scores_matters() -> None:
    assert told([0.4, 0.1, 0.3, 0.2]) == told([1000.0, -5.0, 0.31, 0.3])
    assert told([0.4, 0.1, 0.3, 0.2]) != told([0.1, 0.4, 0.3, 0.2])


def test_of_equal_scores_the_first_ranks_before_the_second() -> None:
    assert told([0.4, 0.3, 0.3, 0.2]) == told([4, 3, 2, 1])


def test_scores_that_agree_in_12_digits_are_equal_so_that_the_cpu_does_not_decide() -> None:
    assert told([0.3, 0.1 + 0.2, 0.3 + 1e-13, 0.2]) == told([4, 3, 2, 1])


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_nan_is_never_accepted(score: float) -> None:
    with pytest.raises(ValueError, match="score 2 of a generation is"):
        told([0.4, None, score, 0.1])


def test_tell_without_ask_or_twice_is_an_error() -> None:
    search = CmaEs([0.5] * 3, 0.3, 4, 1)
    with pytest.raises(ValueError, match="before it was asked for"):
        search.tell([4, 3, 2, 1])
    search.ask()
    search.tell([4, 3, 2, 1])
    with pytest.raises(ValueError, match="before it was asked for"):
        search.tell([4, 3, 2, 1])


@pytest.mark.parametrize("population", [1, 4])
def test_a_generation_is_told_whole(population: int) -> None:
    search = CmaEs([0.5] * 3, 0.3, population, 1)
    search.ask()
    with pytest.raises(ValueError, match=f"scores were told for the {population} points"):
        search.tell([0.5] * (population + 1))


def test_failures_rank_last_below_any_score_in_their_order() -> None:
    assert told([None, 0.0, None, -7.0]) == told([2, 4, 1, 3])


def test_a_generation_of_failures_goes_on() -> None:
    assert told([None] * 4) == told([4, 3, 2, 1])


@pytest.mark.parametrize("population", [1, 2, 3])
def test_a_population_below_pycmas_own_minimum_is_searched(population: int) -> None:
    generations = run(population=population, rounds=5)
    assert [len(points) for points in generations] == [population] * 5


def test_one_dimension_is_searched() -> None:
    generations = run(dimensions=1, rounds=40)
    assert {len(point) for points in generations for point in points} == {1}
    assert abs(generations[-1][0][0] - 0.3) < 0.01


def test_no_dimension_is_no_error() -> None:
    assert run(dimensions=0, rounds=2, population=3) == [[[], [], []]] * 2


def test_a_start_outside_the_cube_is_moved_to_its_edge() -> None:
    assert CmaEs([-0.5, 1.5], 0.1, 4, 1).ask() == CmaEs([0.0, 1.0], 0.1, 4, 1).ask()


def test_a_search_that_has_converged_says_so() -> None:
    search = CmaEs([0.5] * 2, 0.3, 10, 1)
    assert not search.converged
    for _ in range(200):
        points = search.ask()
        search.tell([-abs(x - 0.4) - abs(y - 0.6) for x, y in points])
        if search.converged:
            break
    assert search.converged
    assert np.ptp(np.array(points), axis=0).max() < 1e-5


def test_pycma_is_imported_by_the_search_only_and_without_a_warning() -> None:
    """It takes half a second, and warns where matplotlib isn't installed."""
    program = (
        "import sys, darwinmerge.pipeline.plan, darwinmerge.search.phase1 as phase1\n"
        "assert 'cma' not in sys.modules\n"
        "phase1.CmaEs([0.5], 0.3, 4, 1).ask()\n"
        "assert 'cma' in sys.modules\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")

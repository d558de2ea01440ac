"""The verdict's statistics are exact where they can be, seeded where they are drawn, and honest about errors."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.evaluation import statistics
from darwinmerge.evaluation.statistics import (
    Values,
    bootstrap_interval,
    detectable,
    mcnemar,
    rows_needed,
    sign_flip_p,
    weighted_mean,
)
from tests.build import outcomes


def values(*numbers: float) -> Values:
    return np.array(numbers, np.float64)


def by_binomial(wins: int, losses: int) -> float:
    """McNemar's exact p, in whole numbers: as many heads or more, both ways, of fair coins."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1))
    return min(1.0, float(Fraction(2 * tail, 2**n)))


def by_enumeration(differences: Sequence[Values], weights: Sequence[float]) -> float:
    """The sign-flip p by going through all signs of all questions."""
    steps = [float(d) * w / sum(weights) / len(v) for v, w in zip(differences, weights, strict=True) for d in v]
    observed = abs(sum(steps))
    every_sign = itertools.product((-1, 1), repeat=len(steps))
    sums = [abs(sum(s * sign for s, sign in zip(steps, signs, strict=True))) for signs in every_sign]
    return sum(total >= observed - 1e-12 for total in sums) / len(sums)


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 0), (1, 0), (5, 5), (9, 2), (0, 12), (40, 22), (300, 250), (1500, 1400)]
)
def test_on_one_task_of_zeros_and_ones_the_sign_flip_test_is_mcnemars_exact_test(wins: int, losses: int) -> None:
    exact = by_binomial(wins, losses)
    found = sign_flip_p([outcomes(wins, losses, 30)], [1.0], 0)
    assert found == pytest.approx(exact, rel=1e-9)
    assert mcnemar(*_answers(wins, losses)) == pytest.approx((wins, losses, exact), rel=1e-9)


def _answers(wins: int, losses: int) -> tuple[Values, Values]:
    one = values(*[1.0] * wins, *[0.0] * losses, 1.0, 0.0)
    other = values(*[0.0] * wins, *[1.0] * losses, 1.0, 0.0)
    return one, other


def test_mcnemar_of_thousands_of_questions_is_exact_too() -> None:
    assert mcnemar(*_answers(5600, 5400))[2] == pytest.approx(by_binomial(5600, 5400), rel=1e-9)
    assert mcnemar(*_answers(600, 600))[2] == 1.0


def test_two_weighted_tasks_by_hand() -> None:
    """Steps 3/4 * 1/1 and 1/4 * 1/2 * (1, 1): only all signs alike reach D = 1, two of eight."""
    assert sign_flip_p([values(1), values(1, 1)], [3.0, 1.0], 0) == 0.25
    # -1/8 instead of +1/8: |D| = 3/4 is reached by all but +-(3/4 - 1/4): six of eight.
    assert sign_flip_p([values(1), values(1, -1)], [3.0, 1.0], 0) == 0.75


@given(
    st.lists(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=5), min_size=1, max_size=2),
    st.lists(st.floats(0.1, 5), min_size=2, max_size=2),
)
def test_the_exact_test_is_what_going_through_all_signs_gives(tasks: list[list[float]], weights: list[float]) -> None:
    differences = [values(*task) for task in tasks]
    weights = weights[: len(tasks)]
    assert sign_flip_p(differences, weights, 0) == pytest.approx(by_enumeration(differences, weights), abs=1e-9)


def test_drawn_and_exact_p_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    differences, weights = [outcomes(30, 16, 50), outcomes(9, 12, 40)], [1.0, 2.0]
    exact = sign_flip_p(differences, weights, 0)
    monkeypatch.setattr(statistics, "EXACT_STATES", 0)
    drawn = [sign_flip_p(differences, weights, seed) for seed in (0, 1)]
    assert drawn == pytest.approx([exact] * 2, abs=0.012)
    assert drawn[0] != drawn[1]
    assert sign_flip_p(differences, weights, 0) == drawn[0]


def test_a_drawn_p_is_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "EXACT_STATES", 0)
    assert sign_flip_p([outcomes(200, 0)], [1.0], 0) == pytest.approx(1 / 20_001)


@pytest.mark.parametrize("differences", [values(0, 0, 0), values(0), outcomes(7, 7)])
def test_no_difference_gives_a_p_of_one(differences: Values) -> None:
    assert sign_flip_p([differences], [1.0], 0) == 1.0


def test_p_does_not_depend_on_who_is_called_better_nor_on_the_order_of_questions() -> None:
    differences = outcomes(14, 5, 9)
    p = sign_flip_p([differences], [1.0], 0)
    assert sign_flip_p([-differences], [1.0], 0) == p
    assert sign_flip_p([differences[::-1]], [1.0], 0) == p


def test_only_the_ratio_of_weights_matters() -> None:
    differences = [outcomes(6, 1, 3), outcomes(2, 4)]
    assert sign_flip_p(differences, [1.0, 2.0], 0) == pytest.approx(sign_flip_p(differences, [50.0, 100.0], 0))
    assert weighted_mean(differences, [1.0, 2.0]) == pytest.approx(weighted_mean(differences, [50.0, 100.0]))


def test_the_weighted_mean_is_over_tasks_not_over_questions() -> None:
    assert weighted_mean([values(1, 1, 1, 0), values(0)], [1.0, 2.0]) == pytest.approx(0.25)


def test_the_interval_contains_the_difference_and_is_seeded() -> None:
    differences, weights = [outcomes(30, 12, 80), outcomes(9, 3, 30)], [1.0, 2.0]
    low, high = bootstrap_interval(differences, weights, 0.05, 7)
    assert low < weighted_mean(differences, weights) < high
    assert bootstrap_interval(differences, weights, 0.05, 7) == (low, high)
    assert bootstrap_interval(differences, weights, 0.05, 8) != (low, high)


def test_a_stricter_level_has_a_wider_interval() -> None:
    widths = [np.ptp(bootstrap_interval([outcomes(30, 12, 80)], [1.0], alpha, 0)) for alpha in (0.05, 0.0125)]
    assert widths[0] < widths[1]


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    differences = np.random.default_rng(0).normal(0.1, 0.5, 400)
    low, high = bootstrap_interval([differences], [1.0], 0.05, 0)
    assert high - low == pytest.approx(2 * 1.96 * differences.std(ddof=1) / 20, rel=0.05)


def test_questions_are_resampled_within_their_task() -> None:
    assert bootstrap_interval([values(1, 1, 1), values(0, 0)], [1.0, 1.0], 0.05, 0) == (0.5, 0.5)


def test_the_smallest_difference_that_is_seen_follows_the_normal_approximation() -> None:
    z = NormalDist().inv_cdf
    assert detectable([400], [1.0], 0.05) == pytest.approx((z(0.975) + z(0.8)) * math.sqrt(0.25 / 400))
    two = math.sqrt(0.75**2 * 0.25 / 100 + 0.25**2 * 0.25 / 900)
    assert detectable([100, 900], [3.0, 1.0], 0.05) == pytest.approx((z(0.975) + z(0.8)) * two)


def test_more_questions_see_less_and_a_stricter_level_sees_more() -> None:
    assert detectable([1600], [1.0], 0.05) == pytest.approx(detectable([400], [1.0], 0.05) / 2)
    assert detectable([400], [1.0], 0.025) > detectable([400], [1.0], 0.05)


@pytest.mark.parametrize("power", [0.8, 0.9])
def test_with_so_many_rows_as_are_needed_the_difference_is_just_detectable(power: float) -> None:
    needed = rows_needed(0.05, [300], [1.0], 0.05, power=power)
    assert detectable([needed], [1.0], 0.05, power=power) <= 0.05 < detectable([needed - 1], [1.0], 0.05, power=power)


def test_rows_are_needed_in_the_shares_that_the_tasks_have() -> None:
    needed = rows_needed(0.04, [100, 300], [2.0, 1.0], 0.05)
    assert detectable([needed // 4, needed * 3 // 4], [2.0, 1.0], 0.05) == pytest.approx(0.04, rel=0.01)

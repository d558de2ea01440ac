"""METHOD's rule for the verdict, by simulation: of pairs without a difference 4 to 6 % are called different, intervals
cover what is true, and a difference that `validate` calls detectable is found as often as it says.

Runs are whole comparisons of a child with another model on two tasks of 300 and 130 questions, of which a quarter is
answered otherwise: the example's verdict, and what `validate` assumes.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from darwinmerge.evaluation import statistics
from darwinmerge.evaluation.statistics import Values, detectable, foreseen_power, sign_flip_p
from darwinmerge.evaluation.verdict import compare
from tests.build import outcomes

RUNS = 2000
ROWS = (300, 130)
CHANGED = 0.25  # share of questions that one model gets right and the other wrong
WEIGHTS = [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)]


def drawn(difference: float) -> Iterator[list[Values]]:
    """Differences on all questions between models whose scores truly differ by `difference` on either task."""
    generator = np.random.Generator(np.random.PCG64(1))
    shares = [(CHANGED + difference) / 2, (CHANGED - difference) / 2, 1 - CHANGED]
    for _ in range(RUNS):
        counts = [generator.multinomial(n, shares) for n in ROWS]
        yield [outcomes(*(int(n) for n in of_task)) for of_task in counts]


def called(weights: Sequence[float], difference: float = 0.0, alpha: float = 0.05) -> float:
    """The share of pairs that the test calls different."""
    found = [sign_flip_p(d, weights, seed) <= alpha for seed, d in enumerate(drawn(difference))]
    return float(np.mean(found))


@pytest.mark.parametrize("difference", [0.0, 0.08])
def test_whole_comparisons_err_and_cover_as_they_say(difference: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level 0.05 and intervals of 95 %, these from a tenth of the resamples: 2,000 runs then take seconds."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    runs = []
    for seed, differences in enumerate(drawn(difference)):
        child, other = ([np.maximum(sign * d, 0) for d in differences] for sign in (1, -1))
        runs.append(compare(child, other, WEIGHTS[0], 0.05, seed))
    assert 0.94 <= np.mean([run.low <= difference <= run.high for run in runs]) <= 0.96
    if difference == 0:
        better, worse = (sum(run.result == word for run in runs) for word in ("Better", "Worse"))
        assert 0.04 <= (better + worse) / RUNS <= 0.06
        assert abs(better - worse) <= 3 * math.sqrt(better + worse)  # neither side is favoured


@pytest.mark.parametrize("weights", WEIGHTS)
def test_of_pairs_without_a_difference_one_in_twenty_is_called_different(weights: tuple[float, ...]) -> None:
    assert 0.04 <= called(weights) <= 0.06


@pytest.mark.parametrize("weights", WEIGHTS)
def test_at_a_second_look_it_is_one_in_forty(weights: tuple[float, ...]) -> None:
    assert 0.018 <= called(weights, alpha=0.025) <= 0.032


@pytest.mark.parametrize("changed", [1, 5, 6, 25, 60, 200])
def test_on_one_task_of_zeros_and_ones_the_error_never_exceeds_the_level(changed: int) -> None:
    """Exactly: the chance of all outcomes of so many changed questions that are called different."""
    alarms = [wins for wins in range(changed + 1) if sign_flip_p([outcomes(wins, changed - wins)], [1.0], 0) <= 0.05]
    size = sum(math.comb(changed, wins) for wins in alarms) / 2**changed
    assert size <= 0.05
    assert (size == 0) == (changed < 6)  # of five changed questions nothing can be said


def test_a_test_that_is_drawn_errs_as_often_as_an_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that aren't 0 or 1, skewed: a p from permutations is valid however few of them are drawn."""
    monkeypatch.setattr(statistics, "PERMUTATIONS", 1000)
    generator = np.random.Generator(np.random.PCG64(1))
    wrong = 0
    for seed in range(RUNS):
        differences = [np.subtract(*generator.beta(0.5, 2, (2, n))) for n in (60, 40)]
        wrong += sign_flip_p(differences, [1.0, 2.0], seed) <= 0.05
    assert 0.04 <= wrong / RUNS <= 0.06


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("alpha", [0.05, 0.025])
def test_what_validate_calls_detectable_is_found_four_times_in_five(weights: tuple[float, ...], alpha: float) -> None:
    assert 0.77 <= called(weights, detectable(ROWS, weights, alpha, CHANGED), alpha) <= 0.85


@pytest.mark.parametrize("difference", [0.05, 0.09])
def test_power_is_foreseen_from_other_questions(difference: float) -> None:
    """A thousand of them, that show this difference and as many changes."""
    wins, losses = round(500 * (CHANGED + difference)), round(500 * (CHANGED - difference))
    shown = [outcomes(wins, losses, 1000 - wins - losses)] * 2
    assert foreseen_power(shown, WEIGHTS[0], ROWS, 0.05) == pytest.approx(called(WEIGHTS[0], difference), abs=0.03)


def test_equal_answers_have_no_power_and_a_difference_in_every_answer_has_all() -> None:
    assert foreseen_power([outcomes(0, 0, 9)], [1.0], [100], 0.05) == 0
    assert foreseen_power([outcomes(9, 0)], [1.0], [100], 0.05) == 1

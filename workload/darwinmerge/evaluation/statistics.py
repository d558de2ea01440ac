"""Whether a difference is real: the paired sign-flip test, its interval, McNemar's test, and what can be seen.

Pure, seeded, and exact where that is possible. D is the weighted mean, over tasks, of the mean paired difference
between two models on the same questions. If the models don't differ, each question's difference is as likely
as its negative: that is the null hypothesis, and the test draws from it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from darwinmerge.canonical import rounded

PERMUTATIONS = 20_000
RESAMPLES = 10_000
EXACT_STATES = 200_000

Values = NDArray[np.float64]  # one number a question


def weighted_mean(values: Sequence[Values], weights: Sequence[float]) -> float:
    """Weighted mean over tasks of the mean over a task's questions."""
    total = math.fsum(weights)
    return rounded(math.fsum(w * math.fsum(v) / len(v) for v, w in zip(values, weights, strict=True)) / total)


def sign_flip_p(differences: Sequence[Values], weights: Sequence[float], seed: int) -> float:
    """Two-sided p of the sign-flip test on D.

    Exact where the distribution has few enough states, as it has for 0/1 metrics: then the test on one task equals
    McNemar's exact test. Else drawn: (1 + hits) / (1 + permutations).
    """
    steps = _steps(differences, weights)
    observed = abs(math.fsum(steps))
    magnitudes = Counter(rounded(abs(step)) for step in steps if step)
    if not magnitudes:
        return 1.0
    tolerance = 1e-9 * max(1.0, observed)
    if math.prod(count + 1 for count in magnitudes.values()) <= EXACT_STATES:
        sums, chance = np.zeros(1), np.ones(1)
        for size, count in sorted(magnitudes.items()):
            k = np.arange(count + 1)
            log_ways = [math.lgamma(count + 1) - math.lgamma(i + 1) - math.lgamma(count - i + 1) for i in k]
            ways = np.exp(np.array(log_ways) - count * math.log(2))
            sums = (sums[:, None] + size * (2 * k - count)).ravel()
            chance = (chance[:, None] * ways).ravel()
        return rounded(min(1.0, float(chance[np.abs(sums) >= observed - tolerance].sum())))
    generator = np.random.Generator(np.random.PCG64(seed))
    array, hits = np.array([step for step in steps if step]), 0
    for _ in range(PERMUTATIONS // 1000):
        signs = generator.integers(0, 2, (1000, len(array)), dtype=np.int8) * 2.0 - 1.0
        hits += int((np.abs(signs @ array) >= observed - tolerance).sum())
    return rounded((1 + hits) / (1 + PERMUTATIONS))


def bootstrap_interval(
    differences: Sequence[Values], weights: Sequence[float], alpha: float, seed: int
) -> tuple[float, float]:
    """Percentile interval of D at level 1 - alpha, resampling questions within each task."""
    generator = np.random.Generator(np.random.PCG64(seed))
    total = np.zeros(RESAMPLES)
    for values, weight in zip(differences, weights, strict=True):
        means = np.empty(RESAMPLES)
        for start in range(0, RESAMPLES, 500):
            picked = generator.integers(0, len(values), (500, len(values)))
            means[start : start + 500] = values[picked].mean(axis=1)
        total += weight / math.fsum(weights) * means
    low, high = np.quantile(total, [alpha / 2, 1 - alpha / 2])
    return rounded(float(low)), rounded(float(high))


def mcnemar(one: Values, other: Values) -> tuple[int, int, float]:
    """Questions that only `one` answers better, those that only `other` does, and the exact two-sided p."""
    wins, losses = int((one > other).sum()), int((one < other).sum())
    n, tail, ways = wins + losses, 0, 1
    for k in range(min(wins, losses) + 1):
        tail, ways = tail + ways, ways * (n - k) // (k + 1)
    return wins, losses, rounded(min(1.0, 2 * tail / 2**n))


def detectable(
    rows: Sequence[int], weights: Sequence[float], alpha: float, changed: float = 0.25, power: float = 0.8
) -> float:
    """The smallest difference D that the verdict sees with so much power, if `changed` of all questions change.

    Normal approximation: D = (z(1 - alpha/2) + z(power)) x standard error.
    """
    share = [w / math.fsum(weights) for w in weights]
    error = math.sqrt(math.fsum(s * s * changed / n for s, n in zip(share, rows, strict=True)))
    return (_normal_quantile(1 - alpha / 2) + _normal_quantile(power)) * error


def rows_needed(
    difference: float,
    rows: Sequence[int],
    weights: Sequence[float],
    alpha: float,
    changed: float = 0.25,
    power: float = 0.8,
) -> int:
    """Questions in all, divided among the tasks as `rows` are, with which `difference` would be `detectable`.

    D falls with the square root of the number of questions.
    """
    seen = detectable(rows, weights, alpha, changed, power)
    return math.ceil(rounded(sum(rows) * (seen / difference) ** 2))


def foreseen_power(differences: Sequence[Values], weights: Sequence[float], rows: Sequence[int], alpha: float) -> float:
    """The chance that a verdict of `rows` new questions a task finds the difference that `differences` show.

    Normal approximation. Rows that chose the child flatter it, so that less will be found than they foresee.
    """
    share = [w / math.fsum(weights) for w in weights]
    error = math.sqrt(math.fsum(s * s * float(np.var(v)) / n for s, v, n in zip(share, differences, rows, strict=True)))
    difference = abs(weighted_mean(differences, weights))
    if error == 0:
        return float(difference > 0)
    return NormalDist().cdf(difference / error - _normal_quantile(1 - alpha / 2))


def _normal_quantile(p: float) -> float:
    return NormalDist().inv_cdf(p)


def _steps(differences: Sequence[Values], weights: Sequence[float]) -> list[float]:
    """What each question adds to D."""
    total = math.fsum(weights)
    return [float(d) * w / total / len(v) for v, w in zip(differences, weights, strict=True) for d in v]

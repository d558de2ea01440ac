"""CMA-ES, made repeatable: pycma with its own stream of random numbers, told ranks.

What would make two runs differ, and what is done about it: pycma's `seed` resets numpy's global generator,
and 0 means the clock, so it gets `seed=nan` and a `RandomState` of its own; equal fitness is ordered
differently by different CPUs, so ranks are told, ties by order; NaN is accepted in silence, so a failed
candidate has no score but the last rank. Ranks make pycma's own stops on fitness values meaningless (the best
rank is always 0), so they are off, and a search has converged when its points fall on one spot of the genome's
grid. pycma needs two dimensions: a lone one is padded with a coordinate that nobody reads.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from darwinmerge.search.genome import DECIMALS
from darwinmerge.search.ranking import Scores, ranking, require_answer


class CmaEs:
    """Ask for a generation of points in the unit cube, tell how they rank, ask again."""

    def __init__(self, start: Sequence[float], sigma: float, population: int, seed: int) -> None:
        """A search from `start` (one number in 0..1 a dimension) with step `sigma`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where matplotlib isn't installed
            import cma

        self.dimensions = len(start)
        padded = [min(max(x, 0.0), 1.0) for x in start] + [0.5] * max(0, 2 - len(start))
        stream = np.random.RandomState(seed % 2**32)
        options = {
            "bounds": [0.0, 1.0],
            "popsize": max(2, population),
            "seed": math.nan,
            "randn": stream.randn,
            "tolx": 10.0**-DECIMALS,
            "tolfunhist": 0,
            "tolstagnation": 0,
            "tolxstagnation": False,
            "signals_filename": "",  # else it takes orders from a file of the working directory
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
        }
        self._es: Any = cma.CMAEvolutionStrategy(padded, sigma, options)
        self._population = population
        self._asked: list[Any] = []

    def ask(self) -> list[list[float]]:
        """The next generation's points."""
        self._asked = self._es.ask()
        return [[float(x) for x in point[: self.dimensions]] for point in self._asked[: self._population]]

    def tell(self, scores: Scores) -> None:
        """The scores of the points last asked for, higher is better, None for a failure.

        Told as ranks: the first of two equal scores ranks before the second, failures last.

        Raises:
            ValueError: a score is NaN or infinite; there are not as many scores as points; nothing was asked for.
        """
        require_answer(len(self._asked[: self._population]), scores)
        ranks = [float(i) for i in range(len(self._asked))]  # a point that only pycma wanted ranks after all others
        for rank, i in enumerate(ranking(scores)):
            ranks[i] = float(rank)
        self._es.tell(self._asked, ranks)
        self._asked = []

    @property
    def converged(self) -> bool:
        """True where further generations would fall on one spot."""
        return bool(self._es.stop())

"""The card's other search: selection -> SLERP crossover -> Gaussian mutation.

Selection is by truncation, over parents and children together: the best few of all that was measured are the
next parents. So the best point is never lost and never measured again (elitism without a copy), which counts where
one measurement is a merge and a benchmark; failures breed only where nothing else was measured. Two different
parents, drawn evenly, make a child. Its mutation has the same step for every gene, and the step shrinks by a fixed
factor a generation, so that how a search begins doesn't depend on how long it will last.

Points are rounded to the genome's grid as they are asked for, because sin and log differ in the last bit between
CPUs, and what a generation breeds from must not.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from darwinmerge.experiment.searching import Breeding
from darwinmerge.search.genome import DECIMALS
from darwinmerge.search.ranking import Scores, ranking, require_answer

Point: TypeAlias = list[float]  # one number in 0..1 a dimension
NEARLY = 1e-6  # radians: closer to 0 or pi, an arc is a straight line or any of many


def slerp(one: Sequence[float], other: Sequence[float], share: float) -> Point:
    """The point at `share` of the way from `one` to `other`, on an arc about the centre of the unit cube.

    Directions turn evenly (Shoemake, 1985) and distances from the centre are interpolated linearly; plain linear
    interpolation where there is no one arc: an angle below 1e-6 or within 1e-6 of pi, or a point at the centre. The
    result may lie outside the cube: between two of its corners, for one.
    """
    u, v = [x - 0.5 for x in one], [x - 0.5 for x in other]
    length_u, length_v = math.hypot(*u), math.hypot(*v)
    if not length_u or not length_v:
        return _line(one, other, share)
    u, v = [x / length_u for x in u], [x / length_v for x in v]
    # Kahan's formula: the arc cosine of a scalar product knows small angles to 1e-8 only.
    angle = 2 * math.atan2(math.dist(u, v), math.hypot(*(x + y for x, y in zip(u, v, strict=True))))
    if angle < NEARLY or angle > math.pi - NEARLY:
        return _line(one, other, share)
    length = (1 - share) * length_u + share * length_v
    of_u, of_v = (length * math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
    return [0.5 + of_u * x + of_v * y for x, y in zip(u, v, strict=True)]


def _line(one: Sequence[float], other: Sequence[float], share: float) -> Point:
    return [(1 - share) * x + share * y for x, y in zip(one, other, strict=True)]


def _clipped(point: Sequence[float]) -> Point:
    return [round(min(max(x, 0.0), 1.0), DECIMALS) for x in point]


class Genetic:
    """Ask for a generation of points in the unit cube, tell their scores, ask again; as `CmaEs`."""

    def __init__(
        self,
        start: Sequence[float],
        sigma: float,
        population: int,
        seed: int,
        breeding: Breeding,
        first: Sequence[Sequence[float]] = (),
    ) -> None:
        """A search whose first generation is `first`, or else a Gaussian cloud of width `sigma` about `start`."""
        self.dimensions = len(start)
        self._stream = np.random.RandomState(seed % 2**32)
        self._sigma = sigma
        self._population = population
        self._decay = breeding.decay
        self._kept = max(2, round(breeding.parents * population))
        self._first = [list(point) for point in first] or [self._mutated(start) for _ in range(population)]
        self._asked: list[Point] = []
        self._parents: list[tuple[Point, float | None]] = []  # best first

    def ask(self) -> list[Point]:
        """The next generation's points."""
        self._asked = [self._child() for _ in range(self._population)] if self._parents else self._first
        return [list(point) for point in self._asked]

    def tell(self, scores: Scores, points: Sequence[Sequence[float]] = ()) -> None:
        """The scores of the points last asked for, higher is better, None for a failure.

        Only the order of all scores so far matters; of equal ones, the earlier told ranks before. `points` says
        where they were really measured, if not where asked.

        Raises:
            ValueError: a score is NaN or infinite; there are not as many scores as points; nothing was asked for.
        """
        require_answer(len(self._asked), scores)
        measured = self._parents + list(zip(map(list, points or self._asked), scores, strict=True))
        measured = [measured[i] for i in ranking([score for _, score in measured])]
        alive = [parent for parent in measured if parent[1] is not None] or measured
        self._sigma *= self._decay if self._parents else 1.0
        self._parents, self._asked = alive[: self._kept], []

    @property
    def converged(self) -> bool:
        """True where the mutation's step has become finer than the genome's grid."""
        return self._sigma < 10.0**-DECIMALS

    def _child(self) -> Point:
        i, j = self._stream.permutation(len(self._parents))[:2] if len(self._parents) > 1 else (0, 0)
        return self._mutated(slerp(self._parents[i][0], self._parents[j][0], self._stream.random_sample()))

    def _mutated(self, point: Sequence[float]) -> Point:
        noise = self._stream.randn(len(point)).tolist()
        return _clipped([x + self._sigma * z for x, z in zip(point, noise, strict=True)])

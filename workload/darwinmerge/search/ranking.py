"""The order of scores: the one that every search is told, and that picks the best.

Scores are rounded before they are compared, because CPUs differ in the last bits; ties go by order, because CPUs
break them differently. A failed candidate has no score and the last rank. NaN is an error here, since everything
else accepts it in silence: pycma, and Python's own sort, which then leaves any order at all.
"""

import math
from collections.abc import Sequence

from darwinmerge.canonical import rounded

Scores = Sequence[float | None]  # of one generation, in order, higher is better; None: the candidate failed


def ranking(scores: Scores) -> list[int]:
    """Indices of `scores`, best first: of equal scores (12 digits) the first, failures last in their order.

    Raises:
        ValueError: a score is NaN or infinite; a failure is None.
    """
    for i, score in enumerate(scores):
        if score is not None and not math.isfinite(score):
            raise ValueError(f"score {i} of a generation is {score}; a candidate without a finite score is a failure")
    told = [math.inf if score is None else -rounded(score) for score in scores]
    return sorted(range(len(told)), key=told.__getitem__)


def require_answer(asked: int, scores: Scores) -> None:
    """A generation is told once, whole, after it was asked for.

    Raises:
        ValueError: nothing was asked for since the last tell, or another number of points.
    """
    if not asked:
        raise ValueError("a generation was told before it was asked for")
    if len(scores) != asked:
        raise ValueError(f"{len(scores)} scores were told for the {asked} points that were asked for")

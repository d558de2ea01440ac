"""Phase 2's choice of genomes: a pure function of Phase 1's elites and the recorded scores.

CMA-ES is rebuilt by asking and telling again from the recorded scores, live and on replay alike, so a restart
in mid-run decides what an undisturbed run would have. Generation 1 is the elites, and is not told: they lie
far apart by design, and CMA-ES starts at the best of them.
"""

from collections.abc import Sequence
from functools import lru_cache

from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.manifest import Spec
from darwinmerge.search.cmaes import CmaEs
from darwinmerge.search.genome import Box, Genome

Scores = tuple[float | None, ...]  # of one generation; None: the candidate was rejected


def propose(
    number: int,
    elites: Sequence[Genome],
    past: Sequence[tuple[Sequence[Genome], Scores]],
    active: tuple[Gene, ...],
    spec: Spec,
) -> tuple[Genome, ...]:
    """The genomes of generation `number` (from 1), given all generations before it; empty: there are no more."""
    settings = spec.evolution
    if settings.algorithm == "Elites" or number == 1:
        first = (number - 1) * settings.candidates
        return tuple(elites[first : first + settings.candidates])
    if not active:
        return ()  # nothing to search: every genome is one recipe
    genomes, scores = past[0]
    best = max(range(len(genomes)), key=lambda i: (scores[i] is not None, scores[i] or 0.0, -i))
    box = Box(active, spec.search.bounds)
    told = tuple(scores for _, scores in past[1:])
    points = _points(tuple(box.point(genomes[best])), told, settings.sigma0, settings.candidates, spec.seed)
    return tuple(box.genome(point) for point in points)


@lru_cache(maxsize=256)
def _points(
    start: tuple[float, ...], told: tuple[Scores, ...], sigma: float, candidates: int, seed: int
) -> list[list[float]]:
    search = CmaEs(start, sigma, candidates, seed + 2)
    points = search.ask()
    for scores in told:
        search.tell(scores)
        points = search.ask()
    return points

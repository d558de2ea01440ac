"""Phase 2's choice of genomes: a pure function of Phase 1's elites and the recorded scores.

A search is rebuilt by asking and telling again from the recorded scores, live and on replay alike, so a restart
in mid-run decides what an undisturbed run would have. Generation 1 is the elites. CMA-ES starts at the best of
them and isn't told the others: they lie far apart by design. To Genetic they are what it first breeds from; it is
told where candidates were really measured, since a child descends from them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.manifest import Spec
from darwinmerge.experiment.searching import Evolution
from darwinmerge.search.cmaes import CmaEs
from darwinmerge.search.genetic import Genetic
from darwinmerge.search.genome import Box, Genome
from darwinmerge.search.ranking import ranking

Scores: TypeAlias = tuple[float | None, ...]  # of one generation; None: the candidate was rejected
Points: TypeAlias = tuple[tuple[float, ...], ...]  # of one generation


def propose(
    number: int,
    elites: Sequence[Genome],
    past: Sequence[tuple[Sequence[Genome], Scores]],
    active: tuple[Gene, ...],
    spec: Spec,
) -> tuple[Genome, ...]:
    """The genomes of generation `number` (from 1), given all generations before it; empty: there are no more.

    Raises:
        ValueError: a recorded score is NaN or infinite.
    """
    settings = spec.evolution
    if settings.algorithm == "Elites" or number == 1:
        first = (number - 1) * settings.candidates
        return tuple(elites[first : first + settings.candidates])
    if not active:
        return ()  # nothing to search: every genome is one recipe
    box = Box(active, spec.search.bounds)
    told = tuple((tuple(tuple(box.point(genome)) for genome in genomes), scores) for genomes, scores in past)
    asked = _genetic if settings.algorithm == "Genetic" else _cmaes
    return tuple(box.genome(point) for point in asked(settings, told, spec.seed + 2))


@lru_cache(maxsize=256)
def _cmaes(settings: Evolution, told: tuple[tuple[Points, Scores], ...], seed: int) -> list[list[float]]:
    (elites, measured), *later = told
    search = CmaEs(elites[ranking(measured)[0]], settings.sigma0, settings.candidates, seed)
    points = search.ask()
    for _, scores in later:
        search.tell(scores)
        points = search.ask()
    return points


@lru_cache(maxsize=256)
def _genetic(settings: Evolution, told: tuple[tuple[Points, Scores], ...], seed: int) -> list[list[float]]:
    elites = told[0][0]
    search = Genetic(elites[0], settings.sigma0, settings.candidates, seed, settings.breeding, elites)
    for points, scores in told:
        search.ask()
        search.tell(scores, points)
    return search.ask()

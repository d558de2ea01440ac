"""Phase 1: evolution on the heuristic, its history and its elites.

All steps are run: where a search converges (CMA-ES does, near step 90) it restarts at a seeded random point,
which the history records. Elites are taken greedily from the whole history, each at some distance from those
already taken, so that the first real children differ.
"""

from collections.abc import Callable, Sequence

import numpy as np

from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.searching import MAX_CANDIDATES, Search
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.methods import density_genes
from darwinmerge.merge.recipe import Mixing
from darwinmerge.mri.table import TensorRow
from darwinmerge.search.cmaes import CmaEs
from darwinmerge.search.fitness import Heuristic
from darwinmerge.search.genetic import Genetic
from darwinmerge.search.genome import Box, Genome, active_genes

FLAT = 1e-6  # a generation whose fitness differs by less has found an optimum, as finely as the genes' grid shows it


class HistoryRow(Frozen):
    """One genome that Phase 1 looked at."""

    step: int  # from 1
    index: int  # within the step
    start: int  # 0: the first start, n: the n-th restart
    genome: Genome
    fitness: float  # heuristic; not comparable with any benchmark score


def genes_of(rows: Sequence[TensorRow], mixing: Mixing) -> tuple[Gene, ...]:
    """The genes that have an effect, by this way of mixing."""
    densities = density_genes(mixing.merge.method, mixing.base)
    return active_genes(rows, mixing.merge.transplant, mixing.mri_weight, densities)


def evolve(
    rows: Sequence[TensorRow], mixing: Mixing, settings: Search, seed: int, tell: Callable[[int, int], None]
) -> list[HistoryRow]:
    """Phase 1's whole history, in order; a function of the MRI table, the settings and the seed alone."""
    box = Box(genes_of(rows, mixing), settings.bounds)
    fitness = Heuristic(rows, mixing, settings.fitness)
    starts = np.random.RandomState(seed % 2**32)
    history: list[HistoryRow] = []
    start, flat = 0, False
    search = _search([0.5] * len(box.active), settings, seed + 1)
    for step in range(1, settings.steps + 1):
        if search.converged or flat:
            start += 1
            point = starts.random_sample(len(box.active))
            search = _search(point.tolist(), settings, seed + 1 + start)
        genomes = [box.genome(point) for point in search.ask()]
        scores = [fitness(genome) for genome in genomes]
        search.tell(scores)
        flat = max(scores) - min(scores) < FLAT
        tell(step, settings.steps)
        history += [
            HistoryRow(step=step, index=i, start=start, genome=g, fitness=f)
            for i, (g, f) in enumerate(zip(genomes, scores, strict=True))
        ]
    return history


def _search(start: Sequence[float], settings: Search, seed: int) -> CmaEs | Genetic:
    if settings.algorithm == "Genetic":
        return Genetic(start, settings.sigma0, settings.population, seed, settings.breeding)
    return CmaEs(start, settings.sigma0, settings.population, seed)


def elites(history: Sequence[HistoryRow], active: Sequence[Gene], settings: Search) -> list[Genome]:
    """The best genomes that lie `search.minDistance` apart, best first, as many as a generation can hold.

    Always as many as there are, up to that limit, so that raising `evolution.steps` changes nothing here.
    """
    box = Box(active, settings.bounds)
    taken: list[Genome] = []
    for row in sorted(history, key=lambda row: (-row.fitness, row.step, row.index)):
        if all(box.distance(row.genome, other) >= settings.min_distance for other in taken):
            taken.append(row.genome)
            if len(taken) == MAX_CANDIDATES:
                break
    return taken

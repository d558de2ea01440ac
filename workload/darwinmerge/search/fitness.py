"""Phase 1's heuristic fitness: balance, differentiation and density.

The card says "genome balance + differentiation" and no more. Each term here peaks inside the bounds; a monotone
term would drive genes to a bound. It says nothing about how good a child is: it spreads the first candidates
over recipes that treat tensors differently and lean to neither parent.
"""

import math
from collections.abc import Sequence

import numpy as np

from darwinmerge.canonical import rounded
from darwinmerge.experiment.kinds import gene_of
from darwinmerge.experiment.manifest import Fitness
from darwinmerge.merge.recipe import Mixing
from darwinmerge.mri.table import TensorRow
from darwinmerge.search.genome import GENES, Genome


def _peak(x: float) -> float:
    """`x exp(1 - x)`: 0 at 0, 1 at 1, falling slowly beyond."""
    return x * math.exp(1 - x)


class Heuristic:
    """The fitness of genomes for one MRI table; higher is better, within 0..1."""

    def __init__(self, rows: Sequence[TensorRow], mixing: Mixing, settings: Fitness) -> None:
        """Prepare the table's tensors that differ and aren't transplanted whole."""
        below, above = mixing.merge.transplant.below, mixing.merge.transplant.above
        differ = [row for row in rows if row.presence == "both" and row.size]
        prescribed = np.array([row.ratio_b for row in differ])
        self._weights = np.array([row.size for row in differ], dtype=np.float64)
        self._gene = np.array([GENES.index(gene_of(row.kind)) for row in differ], dtype=np.intp)
        self._mri = mixing.mri_weight * prescribed
        self._share = 1 - mixing.mri_weight
        copied = np.where(prescribed < below, 0.0, np.where(prescribed > above, 1.0, np.nan))
        self._transplanted = np.where([row.flag != "" for row in differ], np.nan, copied)  # flagged: never copied
        self._settings = settings

    def __call__(self, genome: Genome) -> float:
        """The fitness of `genome`, rounded."""
        s = self._settings
        density = _peak(genome.density_b / s.target_density)
        if not len(self._weights):
            return rounded(s.density * density)
        ratios = self._mri + self._share * np.asarray(genome.values())[self._gene]
        ratios = np.where(np.isnan(self._transplanted), ratios, self._transplanted)
        mean = float(np.average(ratios, weights=self._weights))
        sd = math.sqrt(float(np.average((ratios - mean) ** 2, weights=self._weights)))
        balance = 1 - abs(2 * mean - 1)
        return rounded(s.balance * balance + s.differentiation * _peak(sd / s.target_spread) + s.density * density)

"""Phase 1's heuristic fitness: balance, differentiation and density.

The card says "genome balance + differentiation" and no more. Each term here peaks inside the bounds; a monotone
term would drive genes to a bound. It says nothing about how good a child is: it spreads the first candidates
over recipes that treat tensors differently and lean to neither parent.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from darwinmerge.canonical import rounded
from darwinmerge.experiment.kinds import gene_of
from darwinmerge.experiment.searching import Fitness
from darwinmerge.merge.methods import density_genes
from darwinmerge.merge.recipe import Mixing
from darwinmerge.mri.table import TensorRow
from darwinmerge.search.genome import GENES, Genome


def _peak(x: float) -> float:
    """`x exp(1 - x)`: 0 at 0, 1 at 1, falling slowly beyond."""
    return x * math.exp(1 - x)


class _Group(NamedTuple):
    """Tensors whose final ratios move together, as one gene moves; moments are weighted by size."""

    gene: int | None  # which of GENES; None: transplanted, so that no gene moves them
    share: float  # of all sizes
    mean: float  # of the part of a final ratio that no gene moves
    variance: float


class Heuristic:
    """The fitness of genomes for one MRI table; higher is better, within 0..1.

    Tensors that differ count, by size. A final ratio is a part that the MRI fixes plus a part that is the same for
    all tensors of a gene, so the mean and the variance of each gene's tensors say all about them, and a genome
    costs four sums whatever the number of tensors. Sums are rounded once (`fsum`), not in an order that a CPU picks.
    """

    def __init__(self, rows: Sequence[TensorRow], mixing: Mixing, settings: Fitness) -> None:
        """Take the table's moments."""
        members: dict[int | None, list[tuple[int, float]]] = {}  # of each group: size and fixed part
        for row in rows:
            if row.presence == "both" and row.size:
                gene, fixed = _fixed(row, mixing)
                members.setdefault(gene, []).append((row.size, fixed))
        total = sum(size for found in members.values() for size, _ in found)
        self._groups = [_group(gene, found, total) for gene, found in members.items()]
        self._genes_share = 1 - mixing.mri_weight
        self._densities = density_genes(mixing.merge.method, mixing.base) or ("density_b",)
        self._settings = settings

    def __call__(self, genome: Genome) -> float:
        """The fitness of `genome`, rounded."""
        s = self._settings
        peaks = [_peak(getattr(genome, gene) / s.target_density) for gene in self._densities]
        density = math.fsum(peaks) / len(peaks)
        if not self._groups:
            return rounded(s.density * density)
        genes = genome.values()
        means = [g.mean if g.gene is None else g.mean + self._genes_share * genes[g.gene] for g in self._groups]
        pairs = list(zip(self._groups, means, strict=True))
        mean = math.fsum(g.share * m for g, m in pairs)
        sd = math.sqrt(math.fsum(g.share * (g.variance + (m - mean) ** 2) for g, m in pairs))
        balance = 1 - abs(2 * mean - 1)
        return rounded(s.balance * balance + s.differentiation * _peak(sd / s.target_spread) + s.density * density)


def _fixed(row: TensorRow, mixing: Mixing) -> tuple[int | None, float]:
    """The gene that moves a tensor's final ratio, and the part of the ratio that it doesn't move."""
    if copied := mixing.merge.transplant.of(row.ratio_b, row.flag):
        return None, float(copied == "mother")
    return GENES.index(gene_of(row.kind)), mixing.mri_weight * row.ratio_b


def _group(gene: int | None, members: Sequence[tuple[int, float]], total: int) -> _Group:
    size = sum(n for n, _ in members)
    mean = math.fsum(n * x for n, x in members) / size
    variance = math.fsum(n * (x - mean) ** 2 for n, x in members) / size  # about the mean: nothing cancels
    return _Group(gene, size / total, mean, variance)

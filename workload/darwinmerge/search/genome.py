"""The six genes, and which of them have an effect.

A gene is stored to six decimals: finer differences change no merge that anybody could measure, and a coarse
grid is what makes a genome computed on two CPUs the same genome.
"""

from collections.abc import Sequence

from pydantic import field_validator

from darwinmerge.experiment.kinds import Gene, gene_of
from darwinmerge.experiment.merging import Transplant
from darwinmerge.experiment.searching import Bounds
from darwinmerge.experiment.types import Frozen, PositiveShare, Share
from darwinmerge.mri.table import TensorRow

GENES: tuple[Gene, ...] = ("ratio", "attn", "ffn", "embed", "density_a", "density_b")
DECIMALS = 6
INERT: dict[Gene, float] = {"density_a": 1.0, "density_b": 1.0}  # what a gene without effect is fixed at; else 0.5


class Genome(Frozen):
    """Six genes, each a share; a density keeps something."""

    ratio: Share
    attn: Share
    ffn: Share
    embed: Share
    density_a: PositiveShare
    density_b: PositiveShare

    @field_validator("*")
    @classmethod
    def _grid(cls, value: float) -> float:
        return round(value, DECIMALS)

    @field_validator("density_a", "density_b")
    @classmethod
    def _some(cls, value: float) -> float:
        return max(value, 10.0**-DECIMALS)

    def values(self) -> tuple[float, ...]:
        """The genes in order."""
        return tuple(float(getattr(self, gene)) for gene in GENES)

    @classmethod
    def of(cls, values: Sequence[float]) -> "Genome":
        """A genome from its genes in order."""
        return cls(**dict(zip(GENES, values, strict=True)))


def active_genes(
    rows: Sequence[TensorRow], transplant: Transplant, mri_weight: float, densities: Sequence[Gene] = ("density_b",)
) -> tuple[Gene, ...]:
    """Genes that have an effect on the child, in order.

    A ratio gene needs a tensor of its kind that differs and isn't transplanted, and an MRI weight below 1; a density
    gene needs any such tensor, and a method that listens to it: `densities` are those that it does listen to.
    """
    merged = [row for row in rows if row.presence == "both" and not transplant.of(row.ratio_b, row.flag)]
    found = {gene_of(row.kind) for row in merged} if mri_weight < 1 else set()
    return tuple(gene for gene in GENES if gene in found or (gene in densities and merged))


class Box:
    """The searched part of genome space: active genes, each scaled to 0..1 within its bounds."""

    def __init__(self, active: Sequence[Gene], bounds: Bounds) -> None:
        """The box of `active` genes within `bounds`."""
        self.active = tuple(active)
        self._low = [getattr(bounds, gene).min for gene in self.active]
        self._high = [getattr(bounds, gene).max for gene in self.active]
        self._fixed = {gene: _within(INERT.get(gene, 0.5), bounds, gene) for gene in GENES}

    def genome(self, point: Sequence[float]) -> Genome:
        """The genome at `point`, one number in 0..1 an active gene; genes without effect stay fixed."""
        genes = dict(self._fixed)
        for gene, x, low, high in zip(self.active, point, self._low, self._high, strict=True):
            genes[gene] = low + min(max(x, 0.0), 1.0) * (high - low)
        return Genome.of([genes[gene] for gene in GENES])

    def point(self, genome: Genome) -> list[float]:
        """The point of a genome; the inverse of `genome` on active genes."""
        values = dict(zip(GENES, genome.values(), strict=True))
        return [
            (values[g] - low) / (high - low) for g, low, high in zip(self.active, self._low, self._high, strict=True)
        ]

    def distance(self, one: Genome, other: Genome) -> float:
        """The greatest difference over active genes."""
        values = zip(GENES, one.values(), other.values(), strict=True)
        return max((abs(a - b) for gene, a, b in values if gene in self.active), default=0.0)


def _within(value: float, bounds: Bounds, gene: Gene) -> float:
    allowed = getattr(bounds, gene)
    return float(min(max(value, allowed.min), allowed.max))

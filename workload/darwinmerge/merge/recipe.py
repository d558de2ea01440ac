"""A recipe: what becomes of every tensor. A child is a pure function of (parents, recipe), bit for bit.

Parents and the plain average are recipes too (copy all of A, copy all of B, half way for every tensor), so that
everything that is scored goes one way, and equal recipes are one candidate, bought once, whatever genes they
come from.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from darwinmerge.canonical import digest, rounded
from darwinmerge.errors import BadInput
from darwinmerge.experiment.kinds import gene_of
from darwinmerge.experiment.manifest import Merge
from darwinmerge.experiment.types import Frozen
from darwinmerge.mri.table import TensorRow
from darwinmerge.search.genome import Genome

Account = Literal[
    "merged",
    "transplanted-father",
    "transplanted-mother",
    "identical",
    "only-in-father",
    "only-in-mother",
    "not-a-weight",
]
Parent = Literal["father", "mother"]


class Decision(Frozen):
    """What becomes of one tensor."""

    name: str
    account: Account
    source: Parent = "father"  # whose tensor it is a copy of
    ratio: float = 0.0  # final ratio where the account is `merged`: 0 is Father, 1 is Mother
    density: float | None = None  # where it differs from the recipe's


class Recipe(Frozen):
    """What becomes of every tensor, the density of the mask and its seed."""

    father: str  # the parents' pins
    mother: str
    seed: int
    density: float  # share of the elements of B - A that are kept
    rescale: Literal["None", "Inverse"]
    arithmetic: Literal["Float32", "Source"] = "Float32"
    dtype: Literal["Father", "Mother", "bfloat16"] = "Father"  # of the child's weights: the parent's, tensor by tensor
    decisions: tuple[Decision, ...]

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that determines the child's weights, in hex."""
        return digest(self)

    def density_of(self, decision: Decision) -> float:
        """Share of a tensor's elements of B - A that are kept."""
        return self.density if decision.density is None else decision.density

    def coefficient(self, decision: Decision) -> float:
        """Factor on a kept element of B - A."""
        return decision.ratio / self.density_of(decision) if self.rescale == "Inverse" else decision.ratio

    def accounts(self) -> dict[Account, int]:
        """Tensors by account; they add up to all tensors of both parents."""
        return dict(sorted(Counter(decision.account for decision in self.decisions).items()))


class Pins(Frozen):
    """What the parents are: the SHA-256 of each model folder."""

    father: str
    mother: str


class Mixing(Frozen):
    """What turns a genome into a recipe, besides the MRI table."""

    mri_weight: float
    merge: Merge


def _decide(row: TensorRow, ratio: float | Parent, settings: Merge) -> Decision:
    if row.only and settings.one_sided == "Fail":
        lack = "mother" if row.only == "father" else "father"
        raise BadInput(
            f"tensor {row.name}: {row.only} has it, {lack} hasn't; spec.merge.oneSided: Keep takes it over unchanged"
        )
    if row.presence != "both":
        other: Parent = "mother" if ratio == "mother" and row.presence == "not-a-weight" else "father"
        return Decision(name=row.name, account=row.presence, source=row.only or other)
    if ratio == "father":
        return Decision(name=row.name, account="transplanted-father")
    if ratio == "mother":
        return Decision(name=row.name, account="transplanted-mother", source="mother")
    return Decision(name=row.name, account="merged", ratio=rounded(ratio))


def child_recipe(rows: Sequence[TensorRow], genome: Genome, pins: Pins, mixing: Mixing, seed: int) -> Recipe:
    """The recipe of a genome: final ratio = prescription x MRI weight + gene x (1 - MRI weight).

    Raises:
        BadInput: a tensor is only in one parent, and the settings don't say what then.
    """

    merge = mixing.merge

    def ratio(row: TensorRow) -> float | Parent:
        if row.flag == "" and row.ratio_b < merge.transplant.below:
            return "father"
        if row.flag == "" and row.ratio_b > merge.transplant.above:
            return "mother"
        gene: float = getattr(genome, gene_of(row.kind))
        return row.ratio_b * mixing.mri_weight + gene * (1 - mixing.mri_weight)

    decisions = tuple(_decide(row, ratio(row), merge) for row in rows)
    return _recipe(pins, seed, genome.density_b, merge, decisions)


def linear_recipe(rows: Sequence[TensorRow], share: float, pins: Pins, merge: Merge) -> Recipe:
    """The plain weighted average, `share` of Mother in every tensor; share 0 is Father, 1 is Mother, exactly."""
    extremes: dict[float, Parent] = {0.0: "father", 1.0: "mother"}
    decisions = tuple(_decide(row, extremes.get(share, share), merge) for row in rows)
    return _recipe(pins, 0, 1.0, Merge(), decisions, of_mother=share == 1.0)


def _recipe(
    pins: Pins, seed: int, density: float, merge: Merge, decisions: tuple[Decision, ...], of_mother: bool = False
) -> Recipe:
    merged = any(decision.account == "merged" for decision in decisions)
    random = density < 1 and merged
    return Recipe(
        father=pins.father,
        mother=pins.mother,
        seed=seed if random else 0,  # where nothing is drawn, the seed makes no other child
        density=density if random else 1.0,
        rescale=merge.rescale if random else "None",
        arithmetic=merge.arithmetic if merged else "Float32",
        dtype="Mother" if of_mother else merge.dtype,
        decisions=decisions,
    )

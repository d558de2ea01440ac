"""A recipe: what becomes of every tensor. A child is a pure function of (parents, recipe), bit for bit.

Parents and the plain average are recipes too (copy all of A, copy all of B, half way for every tensor), so that
everything that is scored goes one way, and equal recipes are one candidate, bought once, whatever genes they
come from.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

from pydantic import Field

from darwinmerge.canonical import digest, rounded
from darwinmerge.errors import BadInput
from darwinmerge.experiment.kinds import gene_of
from darwinmerge.experiment.merging import Merge
from darwinmerge.experiment.types import Frozen, Side
from darwinmerge.merge.methods import METHODS, MethodName, density_genes
from darwinmerge.merge.methods.method import Terms
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


class Decision(Frozen):
    """What becomes of one tensor."""

    name: str
    account: Account
    source: Side = "father"  # whose tensor it is a copy of
    ratio: float = 0.0  # final ratio where the account is `merged`: 0 is Father, 1 is Mother
    density: float | None = None  # where it differs from the recipe's


class Recipe(Frozen):
    """What becomes of every tensor, by which method, the densities and the seed of the mask.

    The default method without a base is told by leaving out what is about others, so that its ids stay what they were
    before there were others.
    """

    father: str  # the parents' pins
    mother: str
    base: str = ""  # its pin, where there is one and something is merged
    method: MethodName = "DareTies"
    parameters: dict[str, bool | float] = Field(default_factory=dict)  # the method's, those not at their defaults
    seed: int
    density: float  # share of Mother's task vector that is kept; without a base, of the elements of B - A
    density_a: float = 1.0  # share of Father's
    rescale: Literal["None", "Inverse", "L1"]
    arithmetic: Literal["Float32", "Source"] = "Float32"
    dtype: Literal["Father", "Mother", "bfloat16"] = "Father"  # of the child's weights: the parent's, tensor by tensor
    decisions: tuple[Decision, ...]

    @cached_property
    def id(self) -> str:
        """SHA-256 of all that determines the child's weights, in hex."""
        return digest(self)

    def density_of(self, decision: Decision) -> float:
        """Share of a tensor's elements of Mother's task vector (B - A, without a base) that are kept."""
        return self.density if decision.density is None else decision.density

    def density_a_of(self, decision: Decision) -> float:
        """Share of a tensor's elements of Father's task vector that are kept."""
        return self.density_a if decision.density is None or not self.base else decision.density

    def terms(self, decision: Decision) -> Terms:
        """What the method is told of one tensor."""
        kind = METHODS[self.method].parameters
        rescale = {"rescale": self.rescale} if "rescale" in kind.model_fields else {}
        return Terms(
            name=decision.name,
            seed=self.seed,
            ratio=decision.ratio,
            density_a=self.density_a_of(decision),
            density_b=self.density_of(decision),
            parameters=kind.model_validate(self.parameters | rescale),
        )

    def origin(self, decision: Decision) -> tuple[object, ...]:
        """All that determines a tensor's elements: where two recipes give it one origin, they give it the same bits."""
        made = self.terms(decision) if decision.account == "merged" else decision.source
        shared = self.father, self.mother, self.base, self.method, self.rescale, self.arithmetic, self.dtype
        return made, *shared

    def coefficient(self, decision: Decision) -> float:
        """Factor on a kept element of B - A."""
        return decision.ratio / self.density_of(decision) if self.rescale == "Inverse" else decision.ratio

    def accounts(self) -> dict[Account, int]:
        """Tensors by account; they add up to all tensors of both parents."""
        return dict(sorted(Counter(decision.account for decision in self.decisions).items()))


class Pins(Frozen):
    """What the parents are, and the base if there is one: the SHA-256 of each model folder."""

    father: str
    mother: str
    base: str = ""

    @property
    def parents(self) -> "Pins":
        """Those of the parents alone, for what doesn't look at the base."""
        return Pins(father=self.father, mother=self.mother)


class Mixing(Frozen):
    """What turns a genome into a recipe, besides the MRI table."""

    mri_weight: float
    merge: Merge
    base: bool = False  # whether there is one


def _decide(row: TensorRow, ratio: float | Side, settings: Merge) -> Decision:
    if row.only and settings.one_sided == "Fail":
        lack = "mother" if row.only == "father" else "father"
        raise BadInput(
            f"tensor {row.name}: {row.only} has it, {lack} hasn't; spec.merge.oneSided: Keep takes it over unchanged"
        )
    if row.presence != "both":
        other: Side = "mother" if ratio == "mother" and row.presence == "not-a-weight" else "father"
        return Decision(name=row.name, account=row.presence, source=row.only or other)
    if ratio == "father":
        return Decision(name=row.name, account="transplanted-father")
    if ratio == "mother":
        return Decision(name=row.name, account="transplanted-mother", source="mother")
    return Decision(name=row.name, account="merged", ratio=rounded(ratio))


Change = Callable[[Decision, TensorRow], Decision]


def child_recipe(
    rows: Sequence[TensorRow],
    genome: Genome,
    pins: Pins,
    mixing: Mixing,
    seed: int,
    change: Change = lambda decision, row: decision,
) -> Recipe:
    """The recipe of a genome: final ratio = prescription x MRI weight + gene x (1 - MRI weight).

    What is so decided goes through `change` (see `darwinmerge.merge.overrides`).

    Raises:
        BadInput: a tensor is only in one parent, and the settings don't say what then.
    """
    merge = mixing.merge

    def ratio(row: TensorRow) -> float | Side:
        gene: float = getattr(genome, gene_of(row.kind))
        mixed = row.ratio_b * mixing.mri_weight + gene * (1 - mixing.mri_weight)
        return merge.transplant.of(row.ratio_b, row.flag) or mixed

    decisions = tuple(change(_decide(row, ratio(row), merge), row) for row in rows)
    return _recipe(pins, seed, genome, mixing, decisions)


def linear_recipe(rows: Sequence[TensorRow], share: float, pins: Pins, merge: Merge) -> Recipe:
    """The plain weighted average, `share` of Mother in every tensor; share 0 is Father, 1 is Mother, exactly."""
    extremes: dict[float, Side] = {0.0: "father", 1.0: "mother"}
    decisions = tuple(_decide(row, extremes.get(share, share), merge) for row in rows)
    dtype: Literal["Mother", "Father"] = "Mother" if share == 1.0 else "Father"
    whole = {"seed": 0, "density": 1.0, "rescale": "None"}
    return Recipe(father=pins.father, mother=pins.mother, dtype=dtype, decisions=decisions, **whole)


def _recipe(pins: Pins, seed: int, genome: Genome, mixing: Mixing, decisions: tuple[Decision, ...]) -> Recipe:
    """Of what is said, only what makes another child: equal children have equal recipes."""
    merge, method = mixing.merge, METHODS[mixing.merge.method]
    if not any(decision.account == "merged" for decision in decisions):
        copied = {"seed": 0, "density": 1.0, "rescale": "None"}
        return Recipe(father=pins.father, mother=pins.mother, dtype=merge.dtype, decisions=decisions, **copied)
    genes = density_genes(merge.method, mixing.base)
    density_a, density = (getattr(genome, gene) if gene in genes else 1.0 for gene in ("density_a", "density_b"))
    if density_a == density or not mixing.base:  # a tensor's own density may say nothing more
        decisions = tuple(d.model_copy(update={"density": None}) if d.density == density else d for d in decisions)
    densities = {d.density for d in decisions if d.account == "merged"}
    drawn = method.draws and min(min(density_a, density) if each is None else each for each in densities) < 1
    said = method.parameters.model_validate(merge.model_dump(include=set(method.parameters.model_fields)))
    return Recipe(
        father=pins.father,
        mother=pins.mother,
        base=pins.base if mixing.base else "",
        method=merge.method,
        parameters=said.model_dump(by_alias=True, exclude_defaults=True, exclude={"rescale"}),
        seed=seed if drawn else 0,  # where nothing is drawn, the seed makes no other child
        density=density,
        density_a=density_a,
        rescale=merge.rescale if drawn else "None",
        arithmetic=merge.arithmetic,
        dtype=merge.dtype,
        decisions=decisions,
    )

"""What a merge method is: a formula over two parents, and a base where it has one, in parts that all engines share.

A method says twice what it does to a tensor. `plan` looks at the tensor as a whole, once: the factors, which elements
of each task vector are kept, whatever needs a norm or a rank. `combine` is the formula over a block of elements. It is
written once, over operators that arrays have and single elements too: torch computes it on any device
(`darwinmerge.merge.combine_torch`), and compiled as it stands it is the merge on a CPU (`darwinmerge.merge.combine`).
So engines can't differ in it: float32, each operator rounded on its own, in the order in which it is written. That
holds while a formula keeps to the rules:

- operators, comparisons, and `where`, `zeros_like`, `ones_like`, `full_like` of `xp`; nothing fused, no `~`, nothing
  that looks at other elements, and no function but of the module that it stands in or imports;
- numbers are Python floats that float32 has exactly (`single`), so that no library rounds them again;
- a division is of an array by an array: torch on a GPU multiplies by the inverse of a number.

Nothing here imports numpy or torch: the manifest's types are made of what the methods say of themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Field

from darwinmerge.experiment.types import DECIMAL, Frozen

if TYPE_CHECKING:
    from darwinmerge.merge.methods.whole import Whole

Array: TypeAlias = Any  # of float32 or bool, flat: numpy's or torch's
MAGNITUDE = 0x7FFFFFFF  # the bits of a float32 but its sign: as integers they are in the order of magnitudes


class Drawn(NamedTuple):
    """Elements whose random draw is below `below` are kept (`darwinmerge.merge.mask`)."""

    key: tuple[int, int]
    below: int


class Largest(NamedTuple):
    """Elements of a magnitude above `magnitude` are kept, and of those that have it the ones up to index `last`."""

    magnitude: int  # the bits of a float32, without sign
    last: int  # flat index in the whole tensor; -1: none of them


Keep: TypeAlias = Drawn | Largest | None  # which elements of a task vector are kept; None: all


class Terms(NamedTuple):
    """What a recipe says of one tensor."""

    name: str  # Father's
    seed: int
    ratio: float  # final ratio: 0 is Father, 1 is Mother
    density_a: float  # share of Father's task vector that is kept, where the method has densities
    density_b: float  # of Mother's
    parameters: Frozen  # the method's own, of the type that it names

    @property
    def weights(self) -> tuple[float, float]:
        """w_a = 1 - ratio and w_b = ratio, each rounded once to float32."""
        return single(1 - self.ratio), single(self.ratio)


class Plan(NamedTuple):
    """What a method has to know of a tensor before it looks at an element."""

    numbers: Any  # whatever `combine` takes, its floats exact in float32
    keep_a: Keep = None
    keep_b: Keep = None


class Block(NamedTuple):
    """Some elements of a tensor, in float32; masks are None where all is kept."""

    a: Array
    b: Array
    base: Array  # None where the method has no base
    kept_a: Array = None
    kept_b: Array = None


@dataclass(frozen=True)
class Method:
    """A way to merge."""

    name: str  # in the manifest
    base: Literal["Needed", "Optional", "Unused"]
    densities: bool  # whether the density genes have an effect: with a base both, without one density_b alone
    draws: bool  # whether densities are those of a random mask, so that the seed has an effect
    parameters: type[Frozen]  # fields of spec.merge
    plan: "Callable[[Terms, Whole], Plan]"
    combine: Callable[[Any, Block, Any], Array]  # xp, elements, numbers -> elements of the child, before rounding


class Lambda(Frozen):
    """Of methods that add task vectors to a base."""

    lambda_: Annotated[float, Field(gt=0, le=10, alias="lambda"), DECIMAL] = 1.0
    """With a base: factor on the merged task vector."""


class Normalize(Frozen):
    """Of methods that elect a sign."""

    normalize: bool = True
    """With a base: the sum over task vectors of the elected sign is divided by the sum of their weights."""


class Rescale(Frozen):
    """Of methods that drop elements at random."""

    rescale: Literal["None", "Inverse", "L1"] = "None"
    """None: as published. Inverse: the kept part is divided by the density, as DARE has it. L1, with a base: it is
    scaled to the sum of magnitudes of the tensor's whole task vector."""


def single(x: float) -> float:
    """`x` rounded to float32."""
    import numpy as np

    with np.errstate(over="ignore"):
        return float(np.float32(x))

"""Linear: the weighted average of each tensor, by its own final ratio.

    child = A + (B - A) x r

in float32: a difference, a product, a sum. DareTies without a base is this at density 1, bit for bit; so is the plain
average that every run scores, whose ratio is 1/2 for all tensors. Densities have no effect.
"""

from typing import Any, NamedTuple

from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.methods.method import Array, Block, Method, Plan, Terms, single
from darwinmerge.merge.methods.whole import Whole


class Parameters(Frozen):
    """The manifest may say nothing."""


class Numbers(NamedTuple):
    """Mother's weight, exact in float32."""

    ratio: float


def plan(terms: Terms, whole: Whole) -> Plan:
    """The weight; the tensor isn't looked at."""
    return Plan(Numbers(single(terms.ratio)))


def combine(xp: Any, block: Block, numbers: Numbers) -> Array:
    """The formula."""
    return block.a + (block.b - block.a) * numbers.ratio


METHOD = Method(
    name="Linear",
    base="Unused",
    densities=False,
    draws=False,
    parameters=Parameters,
    plan=plan,
    combine=combine,
)

"""Slerp (Shoemake, 1985): each tensor of the child lies on the arc between its parents', seen as two vectors.

    child = c_a A + c_b B,    c_a = sin((1 - t) theta) / sin(theta),    c_b = sin(t theta) / sin(theta)

t is the final ratio, theta the angle between the flattened tensors. Linear (c_a = 1 - t, c_b = t) where theta is below
1e-6, within 1e-6 of pi, or a norm is 0: there is no arc to speak of. In float32: two products, their sum.

The child must not depend on a machine's sine. Norms and product are sums of float64 over blocks of 65,536 elements in
order, the same on every CPU; `acos` and `sin` differ between machines in the last of their 53 bits; both coefficients
are rounded to 12 significant digits before they become float32, of which they then miss a rounding boundary but for
about one tensor in 10^9.
"""

import math
from typing import Any, NamedTuple

from darwinmerge.canonical import rounded
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.methods.method import Array, Block, Method, Plan, Terms, single
from darwinmerge.merge.methods.whole import Whole

FLAT = 1e-6  # radians


class Parameters(Frozen):
    """The manifest may say nothing."""


class Numbers(NamedTuple):
    """Coefficients of the parents, exact in float32."""

    c_a: float
    c_b: float


def coefficients(t: float, aa: float, ab: float, bb: float) -> tuple[float, float]:
    """c_a and c_b, rounded to 12 significant digits, from the squared norms of A and B and their product."""
    norms = math.sqrt(aa) * math.sqrt(bb)
    cosine = ab / norms if norms > 0 else 1.0
    theta = math.acos(min(max(cosine, -1.0), 1.0))
    if theta < FLAT or theta > math.pi - FLAT:
        return rounded(1 - t), rounded(t)
    return rounded(math.sin((1 - t) * theta) / math.sin(theta)), rounded(math.sin(t * theta) / math.sin(theta))


def plan(terms: Terms, whole: Whole) -> Plan:
    """The coefficients, from one pass over the tensor."""
    c_a, c_b = coefficients(terms.ratio, *whole.products())
    return Plan(Numbers(single(c_a), single(c_b)))


def combine(xp: Any, block: Block, numbers: Numbers) -> Array:
    """The formula."""
    return block.a * numbers.c_a + block.b * numbers.c_b


METHOD = Method(
    name="Slerp",
    base="Unused",
    densities=False,
    draws=False,
    parameters=Parameters,
    plan=plan,
    combine=combine,
)

"""TaskArithmetic (Ilharco et al., 2022): both task vectors, weighted, added to the base.

    child = base + lambda x (w_a (A - base) + w_b (B - base))

in float32, each operation rounded on its own: two differences, two products, their sum, its product with lambda, the
sum with the base. Nothing is dropped, so densities have no effect. At lambda 1 it is the weighted average, but for
rounding.
"""

from typing import Any, NamedTuple

from darwinmerge.merge.methods.method import Array, Block, Lambda, Method, Plan, Terms, single
from darwinmerge.merge.methods.whole import Whole


class Parameters(Lambda):
    """What the manifest may say."""


class Numbers(NamedTuple):
    """Weights and factor, exact in float32."""

    w_a: float
    w_b: float
    lambda_: float


def plan(terms: Terms, whole: Whole) -> Plan:
    """The weights; the tensor isn't looked at."""
    said = terms.parameters
    assert isinstance(said, Parameters)
    return Plan(Numbers(*terms.weights, single(said.lambda_)))


def combine(xp: Any, block: Block, numbers: Numbers) -> Array:
    """The formula."""
    p_a = (block.a - block.base) * numbers.w_a
    p_b = (block.b - block.base) * numbers.w_b
    return block.base + (p_a + p_b) * numbers.lambda_


METHOD = Method(
    name="TaskArithmetic",
    base="Needed",
    densities=False,
    draws=False,
    parameters=Parameters,
    plan=plan,
    combine=combine,
)

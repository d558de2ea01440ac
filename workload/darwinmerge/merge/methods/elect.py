"""TIES' election of a sign between two task vectors (Yadav et al., 2023), as DareTies and Ties share it.

    s = sign(w_a d_a + w_b d_b)
    C = base + lambda x (sum of w d over {sign(d) = s}) / (sum of those w; 0 where there are none)

d_a, d_b are the task vectors, trimmed or dropped out, w_a = 1 - r and w_b = r. Without `normalize` nothing is divided.
Where s is 0 nothing moves.
"""

from typing import Any, NamedTuple

from darwinmerge.merge.methods.method import Array


class Election(NamedTuple):
    """The numbers of an election, exact in float32."""

    w_a: float
    w_b: float
    lambda_: float
    normalize: bool


def thinned(xp: Any, delta: Array, kept: Array) -> Array:
    """A task vector's elements where they are kept, else 0; `kept` None: all are."""
    return delta if kept is None else xp.where(kept, delta, xp.zeros_like(delta))


def elected(xp: Any, base: Array, d_a: Array, d_b: Array, numbers: Election) -> Array:
    """Elements of the child, in this order: two products, their sum, its sign; the sum of those that have it, and of
    their weights; the quotient, its product with lambda, and the sum with the base."""
    p_a, p_b = d_a * numbers.w_a, d_b * numbers.w_b
    total = p_a + p_b
    up, down, zero = total > 0, total < 0, xp.zeros_like(total)
    with_a = (up & (d_a > 0)) | (down & (d_a < 0))
    with_b = (up & (d_b > 0)) | (down & (d_b < 0))
    moved = xp.where(with_a, p_a, zero) + xp.where(with_b, p_b, zero)
    if numbers.normalize:
        of_a = xp.where(with_a, xp.full_like(total, numbers.w_a), zero)
        weight = of_a + xp.where(with_b, xp.full_like(total, numbers.w_b), zero)
        moved = moved / xp.where(weight > 0, weight, xp.ones_like(total))
    return base + moved * numbers.lambda_

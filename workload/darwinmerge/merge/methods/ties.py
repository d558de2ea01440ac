"""Ties (Yadav et al., 2023): each task vector trimmed to its largest magnitudes, then a sign elected.

    d_a = A - base, the floor(density_a x n + 1/2) elements of the greatest |A - base| kept, else 0;    d_b likewise
    child = base + lambda x elected(w_a d_a, w_b d_b)         (see `elect`)

in float32, each operation rounded on its own and in this order. n is the tensor's number of elements: a trim is of one
tensor, not of the model. Magnitudes are compared in float32, exactly, over the whole tensor (`Whole.largest`); of
elements with the magnitude at which the trim cuts, those of the lower flat index are kept.
"""

import math
from typing import Any

from darwinmerge.merge.methods.elect import Election, elected, thinned
from darwinmerge.merge.methods.method import Array, Block, Lambda, Method, Normalize, Plan, Terms, single
from darwinmerge.merge.methods.whole import Whole


class Parameters(Lambda, Normalize):
    """What the manifest may say."""


def plan(terms: Terms, whole: Whole) -> Plan:
    """The magnitude at which each task vector is cut, and the weights."""
    said = terms.parameters
    assert isinstance(said, Parameters)
    keep_a, keep_b = (
        whole.largest(who, math.floor(density * whole.size + 0.5))
        for who, density in (("a", terms.density_a), ("b", terms.density_b))
    )
    return Plan(Election(*terms.weights, single(said.lambda_), said.normalize), keep_a, keep_b)


def combine(xp: Any, block: Block, numbers: Election) -> Array:
    """The formula."""
    d_a = thinned(xp, block.a - block.base, block.kept_a)
    d_b = thinned(xp, block.b - block.base, block.kept_b)
    return elected(xp, block.base, d_a, d_b, numbers)


METHOD = Method(
    name="Ties",
    base="Needed",
    densities=True,
    draws=False,
    parameters=Parameters,
    plan=plan,
    combine=combine,
)

"""DareTies: task vectors thinned out at random (DARE: Yu et al., 2023), then a sign elected (TIES).

Without a base Father is the base. There is one task vector then, nothing to elect, and this is the published formula,
computed by `darwinmerge.merge.arithmetic` (float32, or `Source`):

    child = A + (B - A) x mask_b x r                    (rescale Inverse: x 1 / density_b)

With a base, in float32, each operation rounded on its own and in this order:

    d_a = (A - base) x scale_a where mask_a keeps, else 0;    d_b = (B - base) x scale_b where mask_b keeps, else 0
    child = base + lambda x elected(w_a d_a, w_b d_b)         (see `elect`)

Masks are those of `darwinmerge.merge.mask`, Father's of the stream `a`, Mother's of the stream `b`, kept below
density_a and density_b. scale is 1 (rescale None), 1 / density (Inverse; 1 at density 0), or the sum of |d| over that
of the |d| that are kept (L1; 1 where these are 0), of the whole tensor: summed in float64 over blocks of 65,536
elements in order, and rounded to 12 significant digits, then to float32.
"""

from typing import Any, NamedTuple

from darwinmerge.merge import mask
from darwinmerge.merge.methods.elect import Election, elected, thinned
from darwinmerge.merge.methods.method import (
    Array,
    Block,
    Drawn,
    Lambda,
    Method,
    Normalize,
    Plan,
    Rescale,
    Terms,
    single,
)
from darwinmerge.merge.methods.whole import Whole


class Parameters(Lambda, Normalize, Rescale):
    """What the manifest may say."""


class Numbers(NamedTuple):
    """What the formula needs of a tensor."""

    election: Election
    scale_a: float
    scale_b: float


def plan(terms: Terms, whole: Whole) -> Plan:
    """The masks, the weights and the scales."""
    said = terms.parameters
    assert isinstance(said, Parameters)
    keeps, scales = [], []
    for who, density in (("a", terms.density_a), ("b", terms.density_b)):
        below = mask.threshold(density)
        keep = Drawn(mask.key_of(terms.seed, who, terms.name), below) if below < 2**32 else None
        scale = 1.0
        if keep and said.rescale == "Inverse" and density > 0:
            scale = 1 / density
        elif keep and said.rescale == "L1":
            scale = whole.l1_scale(who, keep)
        keeps.append(keep)
        scales.append(single(scale))
    election = Election(*terms.weights, single(said.lambda_), said.normalize)
    return Plan(Numbers(election, *scales), *keeps)


def combine(xp: Any, block: Block, numbers: Numbers) -> Array:
    """The formula with a base."""
    d_a = thinned(xp, (block.a - block.base) * numbers.scale_a, block.kept_a)
    d_b = thinned(xp, (block.b - block.base) * numbers.scale_b, block.kept_b)
    return elected(xp, block.base, d_a, d_b, numbers.election)


METHOD = Method(
    name="DareTies",
    base="Optional",
    densities=True,
    draws=True,
    parameters=Parameters,
    plan=plan,
    combine=combine,
)

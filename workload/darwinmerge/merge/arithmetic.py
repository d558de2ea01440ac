"""The arithmetic of a merge, in the order that makes it the same everywhere.

float32, each operation rounded on its own: d = B - A; d = d x coefficient; C = A + d where the mask keeps, else
A; one rounding to the output dtype. No fused multiply-add and no lerp: they change one bit in a hundred. The
kernel fuses mask and arithmetic over BF16 bits; `reference` is the same in numpy, for all dtypes, and the tests
hold the two equal. A tensor is cut into blocks that are merged on all cores; the mask goes by index, so the cuts
don't show.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.merge import mask
from darwinmerge.merge.kernel import merge_bf16
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.merge.source import source_reference
from darwinmerge.parallel import in_order

BLOCK = 1 << 20  # elements merged at a time: a few MB, whatever the tensor


def reference(
    a: Bits,
    b: Bits,
    dtypes: tuple[str, str],
    coefficient: np.float32,
    key: tuple[int, int],
    keep_below: int,
    start: int,
) -> Bits:
    """Elements of a merged tensor in numpy; `a`, `b` are the parents' elements from flat index `start` on."""
    wide_a, wide_b = widen(a, dtypes[0]), widen(b, dtypes[1])
    with np.errstate(invalid="ignore", over="ignore"):
        delta = wide_b - wide_a
        delta = delta * coefficient
        moved = narrow(wide_a + delta, dtypes[0])
    if keep_below == 2**32:
        return moved
    return np.where(mask.kept(start, start + len(a), key, keep_below), moved, a)


Job = Callable[[], Bits]


def jobs(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> Iterator[Job]:
    """The child's tensor, flat, in jobs of a block each: merged, or copied from the parent that the decision names."""
    name = decision.name
    if decision.account != "merged":
        copied = (mother if decision.source == "mother" else father).bits(name)
        for start in range(0, len(copied), BLOCK):
            yield partial(np.ascontiguousarray, copied[start : start + BLOCK])
        return
    a, b = father.bits(name), mother.bits(name)
    dtypes = father.info(name).dtype, mother.info(name).dtype
    coefficient = np.float32(recipe.coefficient(decision))
    key = mask.key_of(recipe.seed, "b", name)
    keep_below = mask.threshold(recipe.density_of(decision))
    merge = _source if recipe.arithmetic == "Source" else _float32
    for start in range(0, len(a), BLOCK):
        of_a, of_b = a[start : start + BLOCK], b[start : start + BLOCK]
        yield partial(merge, of_a, of_b, dtypes, coefficient, key, keep_below, start)


def _float32(
    a: Bits,
    b: Bits,
    dtypes: tuple[str, str],
    coefficient: np.float32,
    key: tuple[int, int],
    keep_below: int,
    start: int,
) -> Bits:
    if dtypes != ("BF16", "BF16"):
        return reference(a, b, dtypes, coefficient, key, keep_below, start)
    out = np.empty(len(a), np.uint16)
    aligned = (np.require(x, np.uint16, ["C", "A"]) for x in (a, b))
    merge_bf16(*aligned, out, coefficient, *key, keep_below, start)
    return out


def _source(
    a: Bits,
    b: Bits,
    dtypes: tuple[str, str],
    coefficient: np.float32,
    key: tuple[int, int],
    keep_below: int,
    start: int,
) -> Bits:
    return source_reference(a, b, dtypes, coefficient, mask.kept(start, start + len(a), key, keep_below))


def merged_tensor(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> tuple[Bits, str]:
    """The child's tensor, flat, and its dtype."""
    dtype = (mother if decision.source == "mother" else father).info(decision.name).dtype
    blocks = list(in_order(jobs(decision, recipe, father, mother)))
    return np.concatenate(blocks or [np.empty(0, DTYPES[dtype].bits)]), dtype

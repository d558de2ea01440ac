"""The arithmetic of a merge, in the order that makes it the same everywhere.

float32, each operation rounded on its own: d = B - A; d = d x coefficient; C = A + d where the mask keeps, else
A; one rounding to the output dtype. No fused multiply-add and no lerp: they change one bit in a hundred. The
kernel fuses mask and arithmetic over BF16 bits; `reference` is the same in numpy, for all dtypes, and the tests
hold the two equal.
"""

from collections.abc import Iterator

import numba
import numpy as np

from darwinmerge.checkpoint.dtypes import BF16_NAN, DTYPES, Bits, narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.merge import mask
from darwinmerge.merge.recipe import Decision, Recipe

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
    kept = mask.draws(start, start + len(a), key).astype(np.uint64) < np.uint64(keep_below)
    return np.where(kept, moved, a)


_PARENT = numba.types.Array(numba.uint16, 1, "C", readonly=True)
_SIGNATURE = numba.void(
    _PARENT, _PARENT, numba.uint16[::1], numba.float32, numba.uint32, numba.uint32, numba.uint64, numba.uint64
)


@numba.njit(_SIGNATURE, nogil=True, cache=True)
def _merge_bf16(a, b, out, coefficient, key0, key1, keep_below, start):  # type: ignore[no-untyped-def]
    """`reference` for two BF16 parents, in one pass."""
    word = np.empty(1, np.uint32)
    real = word.view(np.float32)
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for i in range(a.size):
        keep = True
        if keep_below <= low:
            counter = start + np.uint64(i)
            c0, c1, c2, c3 = counter & low, counter >> half, np.uint64(0), np.uint64(0)
            k0, k1 = np.uint64(key0), np.uint64(key1)
            for _ in range(mask.ROUNDS):
                p0, p1 = c0 * np.uint64(mask.M0), c2 * np.uint64(mask.M1)
                c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
                k0, k1 = (k0 + np.uint64(mask.W0)) & low, (k1 + np.uint64(mask.W1)) & low
            keep = c0 < keep_below
        if not keep:
            out[i] = a[i]
            continue
        word[0] = np.uint32(a[i]) << np.uint32(16)
        wide_a = real[0]
        word[0] = np.uint32(b[i]) << np.uint32(16)
        delta = np.float32(real[0] - wide_a)
        delta = np.float32(delta * coefficient)
        real[0] = np.float32(wide_a + delta)
        bits = word[0]
        if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
            out[i] = np.uint16(BF16_NAN)
        else:
            bits += np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            out[i] = np.uint16(bits >> np.uint32(16))


def merged_blocks(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> Iterator[Bits]:
    """The child's tensor, flat, block by block: merged, or copied from the parent that the decision names."""
    name = decision.name
    if decision.account != "merged":
        yield (mother if decision.source == "mother" else father).bits(name)
        return
    a, b = father.bits(name), mother.bits(name)
    dtypes = father.info(name).dtype, mother.info(name).dtype
    coefficient = np.float32(decision.ratio * recipe.scale)
    key = mask.key_of(recipe.seed, "b", name)
    keep_below = mask.threshold(recipe.density)
    for start in range(0, len(a), BLOCK):
        of_a, of_b = a[start : start + BLOCK], b[start : start + BLOCK]
        if dtypes == ("BF16", "BF16"):
            out = np.empty(len(of_a), np.uint16)
            aligned = (np.require(x, np.uint16, ["C", "A"]) for x in (of_a, of_b))
            _merge_bf16(*aligned, out, coefficient, *key, keep_below, start)
            yield out
        else:
            yield reference(of_a, of_b, dtypes, coefficient, key, keep_below, start)


def merged_tensor(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> tuple[Bits, str]:
    """The child's tensor, flat, and its dtype."""
    source = mother if decision.source == "mother" else father
    blocks = list(merged_blocks(decision, recipe, father, mother))
    dtype = source.info(decision.name).dtype
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.empty(0, DTYPES[dtype].bits)])), dtype

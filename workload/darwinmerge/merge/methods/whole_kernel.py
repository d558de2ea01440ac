"""Passes over a tensor's values, compiled: sums in float64 one after the other, and counts. No `fastmath`."""

import numba
import numpy as np
from numpy.typing import NDArray

from darwinmerge.merge.drawn import NONE
from darwinmerge.merge.kernel import draw
from darwinmerge.merge.methods.method import MAGNITUDE, Drawn

_BLOCK = 1 << 16  # elements of one sum
_VALUES = numba.types.Array(numba.float32, 1, "C", readonly=True)
_KEPT = numba.types.Array(numba.boolean, 1, "C", readonly=True)
_SUMS = numba.float64[:, ::1]


@numba.njit(_SUMS(_VALUES, _VALUES), nogil=True, cache=True)
def products(a, b):  # type: ignore[no-untyped-def]
    """A row a block: |a|^2, a b, |b|^2."""
    out = np.zeros(((a.size + _BLOCK - 1) // _BLOCK, 3))
    for block in range(out.shape[0]):
        aa = ab = bb = 0.0
        for i in range(block * _BLOCK, min(a.size, (block + 1) * _BLOCK)):
            x, y = np.float64(a[i]), np.float64(b[i])
            aa += x * x
            ab += x * y
            bb += y * y
        out[block, 0], out[block, 1], out[block, 2] = aa, ab, bb
    return out


@numba.njit(_SUMS(_VALUES, _KEPT), nogil=True, cache=True)
def magnitudes(values, kept):  # type: ignore[no-untyped-def]
    """A row a block: the sum of |value| over all, and over those that are kept."""
    out = np.zeros(((values.size + _BLOCK - 1) // _BLOCK, 2))
    for block in range(out.shape[0]):
        every = of_kept = 0.0
        for i in range(block * _BLOCK, min(values.size, (block + 1) * _BLOCK)):
            size = abs(np.float64(values[i]))
            every += size
            if kept[i]:
                of_kept += size
        out[block, 0], out[block, 1] = every, of_kept
    return out


@numba.njit(numba.int64[::1](numba.types.Array(numba.uint32, 1, "C", readonly=True)), nogil=True, cache=True)
def _count_high(words):  # type: ignore[no-untyped-def]
    counts = np.zeros(1 << 15, np.int64)
    for i in range(words.size):
        counts[(words[i] & np.uint32(0x7FFFFFFF)) >> np.uint32(16)] += 1
    return counts


@numba.njit(
    numba.int64[::1](numba.types.Array(numba.uint32, 1, "C", readonly=True), numba.uint32), nogil=True, cache=True
)
def _count_low(words, high):  # type: ignore[no-untyped-def]
    counts = np.zeros(1 << 16, np.int64)
    for i in range(words.size):
        word = words[i] & np.uint32(0x7FFFFFFF)
        if word >> np.uint32(16) == high:
            counts[word & np.uint32(0xFFFF)] += 1
    return counts


def count_high(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many values have each of the 32,768 upper halves of a magnitude."""
    counts: NDArray[np.int64] = _count_high(values.view(np.uint32))
    return counts


def count_low(values: NDArray[np.float32], high: int) -> NDArray[np.int64]:
    """Of the values with the upper half `high`, how many have each of the 65,536 lower halves."""
    counts: NDArray[np.int64] = _count_low(values.view(np.uint32), high)
    return counts


def places(values: NDArray[np.float32], magnitude: int) -> NDArray[np.int64]:
    """Indices of the values of a magnitude, in order."""
    return np.flatnonzero((values.view(np.uint32) & np.uint32(MAGNITUDE)) == np.uint32(magnitude))


def drawn(start: int, stop: int, keep: Drawn) -> NDArray[np.bool_]:
    """`mask.kept`, compiled."""
    words = np.empty(stop - start, np.uint16)
    draw(words, NONE, False, *keep.key, keep.below, start)
    kept: NDArray[np.bool_] = words != 0
    return kept

"""Passes over a tensor's elements, compiled: sums in float64 one after the other, and counts. No `fastmath`.

Elements are BF16 bits or words of float32, as `darwinmerge.merge.kernel.words` gives them; a task vector is
value - base, in float32, a strip at a time.
"""

from typing import Any

import numba
import numpy as np

from darwinmerge.merge.kernel import HELD, STRIP, draw, widen

# Kept by numba with this file's text alone, so it names that of kernel.py: ee276a9be0937460
_BLOCK = 1 << 16  # elements of one sum: whole strips
_SUMS, _COUNTS = numba.float64[:, ::1], numba.int64[::1]
_SIGN = np.uint32(0x7FFFFFFF)


def _pass(result: Any, *more: Any) -> Any:
    """To compile a pass over two tensors' elements; it is kept on the disk."""
    return numba.njit([result(held, held, *more) for held in HELD], nogil=True, cache=True)


@numba.njit(nogil=True)
def _sizes(value, base, word, other):  # type: ignore[no-untyped-def]
    """The words of |value - base| in `word`; `other` holds the base's meanwhile."""
    widen(value, word)
    widen(base, other)
    delta, origin = word.view(np.float32), other.view(np.float32)
    for i in range(value.size):
        delta[i] = delta[i] - origin[i]
    for i in range(value.size):
        word[i] = word[i] & _SIGN


@_pass(_SUMS)
def products(a, b):  # type: ignore[no-untyped-def]
    """A row a block: |a|^2, a b, |b|^2."""
    out = np.zeros(((a.size + _BLOCK - 1) // _BLOCK, 3))
    word_a, word_b = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32)
    wide_a, wide_b = word_a.view(np.float32), word_b.view(np.float32)
    for block in range(out.shape[0]):
        aa = ab = bb = 0.0
        for s in range(block * _BLOCK, min(a.size, (block + 1) * _BLOCK), STRIP):
            n = min(STRIP, a.size - s)
            widen(a[s : s + n], word_a[:n])
            widen(b[s : s + n], word_b[:n])
            for i in range(n):
                x, y = np.float64(wide_a[i]), np.float64(wide_b[i])
                aa += x * x
                ab += x * y
                bb += y * y
        out[block, 0], out[block, 1], out[block, 2] = aa, ab, bb
    return out


@_pass(_SUMS, numba.uint8[::1], numba.boolean, numba.uint32, numba.uint32, numba.uint64, numba.uint64)
def magnitudes(value, base, high, known, key0, key1, keep_below, start):  # type: ignore[no-untyped-def]
    """A row a block: the sum of |value - base| over all, and over those that are kept; masks as in `merge_bf16`."""
    out = np.zeros(((value.size + _BLOCK - 1) // _BLOCK, 2))
    word, other, kept = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint16)
    size = word.view(np.float32)
    for block in range(out.shape[0]):
        every = of_kept = 0.0
        for s in range(block * _BLOCK, min(value.size, (block + 1) * _BLOCK), STRIP):
            n = min(STRIP, value.size - s)
            _sizes(value[s : s + n], base[s : s + n], word[:n], other[:n])
            draw(kept[:n], high[s : s + n], known, key0, key1, keep_below, start + np.uint64(s))
            for i in range(n):
                every += np.float64(size[i])
                of_kept += np.float64(size[i]) if kept[i] else 0.0
        out[block, 0], out[block, 1] = every, of_kept
    return out


@_pass(_COUNTS)
def count_high(value, base):  # type: ignore[no-untyped-def]
    """How many values have each of the 32,768 upper halves of a magnitude."""
    counts = np.zeros(1 << 15, np.int64)
    word, other = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32)
    for s in range(0, value.size, STRIP):
        n = min(STRIP, value.size - s)
        _sizes(value[s : s + n], base[s : s + n], word[:n], other[:n])
        for i in range(n):
            counts[word[i] >> np.uint32(16)] += 1
    return counts


@_pass(_COUNTS, numba.uint32)
def count_low(value, base, high):  # type: ignore[no-untyped-def]
    """Of the values with the upper half `high`, how many have each of the 65,536 lower halves."""
    counts = np.zeros(1 << 16, np.int64)
    word, other = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32)
    for s in range(0, value.size, STRIP):
        n = min(STRIP, value.size - s)
        _sizes(value[s : s + n], base[s : s + n], word[:n], other[:n])
        for i in range(n):
            if word[i] >> np.uint32(16) == high:
                counts[word[i] & np.uint32(0xFFFF)] += 1
    return counts


@_pass(numba.types.UniTuple(numba.int64, 2), numba.uint32, numba.int64)
def place(value, base, magnitude, wanted):  # type: ignore[no-untyped-def]
    """Index of the `wanted`-th value of a magnitude, from 1, or -1; and how many were seen until there."""
    word, other, seen = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32), 0
    for s in range(0, value.size, STRIP):
        n = min(STRIP, value.size - s)
        _sizes(value[s : s + n], base[s : s + n], word[:n], other[:n])
        here = 0
        for i in range(n):
            here += word[i] == magnitude
        if seen + here < wanted:
            seen += here
            continue
        for i in range(n):
            seen += word[i] == magnitude
            if seen == wanted:
                return s + i, seen
    return -1, seen

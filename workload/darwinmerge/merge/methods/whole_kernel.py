"""Passes over a tensor's elements, compiled: sums in float64 one after the other, and counts. No `fastmath`.

Elements are BF16 bits or words of float32, as `darwinmerge.merge.kernel.words` gives them; a task vector is
value - base, in float32, a strip at a time.
"""

from typing import Any

import numba
import numpy as np

from darwinmerge.merge.kernel import HELD, STRIP, draw, sizes, widen

# Kept by numba with this file's text alone, so it names that of kernel.py: 04fb4ebf41c1ea80
_BLOCK = 1 << 16  # elements of one sum: whole strips
_SUMS, _COUNTS = numba.float64[:, ::1], numba.int64[::1]
_ROOM = (3, STRIP)  # words


def _pass(result: Any, *more: Any) -> Any:
    """To compile a pass over two tensors' elements; it is kept on the disk."""
    return numba.njit([result(held, held, *more) for held in HELD], nogil=True, cache=True)


@numba.njit(nogil=True)
def _strip(value, base, start, room):  # type: ignore[no-untyped-def]
    """The words of |value - base| in the strip that begins at `start`; `room` is what it works in (`_ROOM`)."""
    stop = min(start + STRIP, value.size)
    one, other, size = room[0, : stop - start], room[1, : stop - start], room[2, : stop - start]
    widen(value[start:stop], one)
    widen(base[start:stop], other)
    sizes(one.view(np.float32), other.view(np.float32), size)
    return size


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
    room, kept = np.empty(_ROOM, np.uint32), np.empty(STRIP, np.uint16)
    for block in range(out.shape[0]):
        every = of_kept = 0.0
        for s in range(block * _BLOCK, min(value.size, (block + 1) * _BLOCK), STRIP):
            size = _strip(value, base, s, room).view(np.float32)
            n = size.size
            draw(kept[:n], high[s : s + n], known, key0, key1, keep_below, start + np.uint64(s))
            for i in range(n):
                every += np.float64(size[i])
                of_kept += np.float64(size[i]) if kept[i] else 0.0
        out[block, 0], out[block, 1] = every, of_kept
    return out


@_pass(_COUNTS)
def count_high(value, base):  # type: ignore[no-untyped-def]
    """How many values have each of the 32,768 upper halves of a magnitude."""
    counts, room = np.zeros(1 << 15, np.int64), np.empty(_ROOM, np.uint32)
    for s in range(0, value.size, STRIP):
        for word in _strip(value, base, s, room):
            counts[word >> np.uint32(16)] += 1
    return counts


@_pass(_COUNTS, numba.uint32)
def count_low(value, base, high):  # type: ignore[no-untyped-def]
    """Of the values with the upper half `high`, how many have each of the 65,536 lower halves."""
    counts, room = np.zeros(1 << 16, np.int64), np.empty(_ROOM, np.uint32)
    for s in range(0, value.size, STRIP):
        for word in _strip(value, base, s, room):
            if word >> np.uint32(16) == high:
                counts[word & np.uint32(0xFFFF)] += 1
    return counts


@_pass(numba.types.UniTuple(numba.int64, 2), numba.uint32, numba.int64)
def place(value, base, magnitude, wanted):  # type: ignore[no-untyped-def]
    """Index of the `wanted`-th value of a magnitude, from 1, or -1; and how many were seen until there."""
    room, seen = np.empty(_ROOM, np.uint32), 0
    for s in range(0, value.size, STRIP):
        size, here = _strip(value, base, s, room), 0
        for i in range(size.size):
            here += size[i] == magnitude
        if seen + here < wanted:
            seen += here
            continue
        for i in range(size.size):
            seen += size[i] == magnitude
            if seen == wanted:
                return s + i, seen
    return -1, seen

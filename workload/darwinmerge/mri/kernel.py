"""Figures of 16-bit tensors at memory speed: count the 65,536 values, then work on the counts; compiled once.

Sums go over the 65,536 values in order, with Neumaier's compensation: exact to the last bits, in one order on every
machine, and without holding the GIL.
"""

import numba
import numpy as np

_WORDS = numba.types.Array(numba.uint16, 1, "C", readonly=True)
_COUNTS = numba.int64[::1]
_VALUES = numba.types.Array(numba.float64, 1, "C", readonly=True)


@numba.njit(numba.void(_WORDS, _COUNTS), nogil=True, cache=True)
def count_words(words, counts):  # type: ignore[no-untyped-def]
    """Add to `counts` (65,536 of int64) how often each 16-bit pattern stands in `words`."""
    for i in range(words.size):
        counts[words[i]] += 1


@numba.njit(numba.float64[::1](_COUNTS, _VALUES, numba.float64), nogil=True, cache=True)
def moments(counts, values, centre):  # type: ignore[no-untyped-def]
    """Over finite values, weighted by counts: [n, sum, sum of (value - centre) ** 2, min, max, zeros, non-finite]."""
    out = np.zeros(7)
    out[3], out[4] = np.inf, -np.inf
    lost_sum = lost_squares = 0.0
    for i in range(counts.size):
        count, value = counts[i], values[i]
        if count == 0:
            continue
        if not np.isfinite(value):
            out[6] += count
            continue
        out[0] += count
        out[5] += count if value == 0 else 0
        out[3], out[4] = min(out[3], value), max(out[4], value)
        term = value * count
        total = out[1] + term
        lost_sum += (out[1] - total) + term if abs(out[1]) >= abs(term) else (term - total) + out[1]
        out[1] = total
        term = (value - centre) ** 2 * count
        total = out[2] + term
        lost_squares += (out[2] - total) + term if abs(out[2]) >= abs(term) else (term - total) + out[2]
        out[2] = total
    out[1] += lost_sum
    out[2] += lost_squares
    return out


@numba.njit(numba.int64[::1](_COUNTS, _VALUES, _VALUES), nogil=True, cache=True)
def histogram(counts, values, edges):  # type: ignore[no-untyped-def]
    """Counts by bin, as `numpy.histogram` assigns values to bins of equal width with these edges."""
    bins = edges.size - 1
    low, high = edges[0], edges[bins]
    out = np.zeros(bins, np.int64)
    for i in range(counts.size):
        value = values[i]
        if counts[i] == 0 or not np.isfinite(value):
            continue
        found = int((value - low) / (high - low) * bins)
        if found == bins:
            found -= 1
        if value < edges[found]:
            found -= 1
        elif found != bins - 1 and value >= edges[found + 1]:
            found += 1
        out[found] += counts[i]
    return out

"""The compiled loop of `darwinmerge.checkpoint.lora`; `fastmath` stays off: no fused multiply-add, no reordering."""

import numba
import numpy as np

_MATRIX = numba.types.Array(numba.float32, 2, "C")


@numba.njit(nogil=True)
def _first(total, row, factor):  # type: ignore[no-untyped-def]
    for i in range(total.size):
        total[i] = np.float32(factor * row[i])


@numba.njit(nogil=True)
def _next(total, row, factor):  # type: ignore[no-untyped-def]
    for i in range(total.size):
        total[i] = np.float32(total[i] + np.float32(factor * row[i]))


@numba.njit(nogil=True)
def _last(values, total, scale):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        values[i] = np.float32(values[i] + np.float32(total[i] * scale))


@numba.njit(
    numba.void(numba.float32[::1], _MATRIX, _MATRIX, numba.float32, numba.int64),
    nogil=True,
    cache=True,
)
def add_product(values, left, right, scale, start):  # type: ignore[no-untyped-def]
    """Add to a stretch of a matrix that of (left right) x scale, in place.

    Args:
        values: float32 elements of the matrix in C order, from flat index `start` on.
        left: (rows, rank), float32.
        right: (rank, columns), float32.
        scale: float32.
        start: flat index of the first element in the whole matrix.
    """
    rank, columns = right.shape
    total = np.empty(columns, np.float32)
    done = 0
    while done < values.size:
        row, column = divmod(start + done, columns)
        n = min(columns - column, values.size - done)
        _first(total[:n], right[0, column : column + n], left[row, 0])
        for k in range(1, rank):
            _next(total[:n], right[k, column : column + n], left[row, k])
        _last(values[done : done + n], total[:n], scale)
        done += n

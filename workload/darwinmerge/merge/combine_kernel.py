"""A method's formula, compiled: the text of `Method.combine` for one element, in a loop over all of them.

The formula is written for arrays, in operators that one element has as well, so numba compiles it as it stands, with
what it calls (`_compiled`). The loop goes over a strip of float32 values at a time, which stays in the first-level
cache; no step of it branches on data, so the compiler vectorises it. `fastmath` stays off: every operation is rounded
on its own. A method is compiled when a process first merges by it, in about a second.
"""

from collections.abc import Callable
from functools import cache
from threading import Lock
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from darwinmerge.merge.kernel import STRIP, draw, narrow, sizes, widen
from darwinmerge.merge.methods.method import Block, Drawn, Keep, Method

# Kept by numba with this file's text alone, so it names that of kernel.py: 04fb4ebf41c1ea80
_inlined = numba.njit(inline="always")
_DRAWN, _LARGEST = 1, 2
_ONE = Lock()


class _Elements(NamedTuple):
    """What a formula calls of numpy or torch, for one float32."""

    where: Any = _inlined(lambda condition, x, y: x if condition else y)
    zeros_like: Any = _inlined(lambda x: np.float32(0))
    ones_like: Any = _inlined(lambda x: np.float32(1))
    full_like: Any = _inlined(lambda x, number: np.float32(number))


_ELEMENTS = _Elements()


def encoded(keep: Keep) -> tuple[int, int, int, int]:
    """Which elements are kept, as `run` of `kernel_of` takes it."""
    if keep is None:
        return 0, 0, 0, 0
    return (_DRAWN, *keep.key, keep.below) if isinstance(keep, Drawn) else (_LARGEST, keep.magnitude, keep.last, 0)


def exact(numbers: Any) -> Any:
    """A plan's numbers with float32 for every float: compiled arithmetic would take a float for a float64."""
    if isinstance(numbers, tuple):
        return type(numbers)(*map(exact, numbers))
    return np.float32(numbers) if isinstance(numbers, float) else numbers


def _compiled(function: FunctionType) -> Any:
    """A function, and those of ours that it calls, compiled. Numbers are divided as IEEE 754 says, without a check."""
    called = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    ours = {name: _compiled(f) for name, f in called.items() if isinstance(f, FunctionType)}
    text = FunctionType(function.__code__, {**function.__globals__, **ours}, function.__name__, function.__defaults__)
    return numba.njit(text, error_model="numpy")


@numba.njit(
    numba.void(
        *(numba.uint16[::1], numba.float32[::1], numba.float32[::1], numba.types.UniTuple(numba.int64, 4)),
        *(numba.uint8[::1], numba.boolean, numba.int64),
    ),
    nogil=True,
    cache=True,
)
def _keep(kept, value, base, keep, high, known, start):  # type: ignore[no-untyped-def]
    """All bits of `kept` set where the element of a task vector is kept, none where it isn't."""
    kind, x, y, z = keep
    if kind == _DRAWN:
        draw(kept, high, known, np.uint32(x), np.uint32(y), np.uint64(z), np.uint64(start))
    if kind == _LARGEST:
        size, cut = np.empty(kept.size, np.uint32), np.uint32(x)
        sizes(value, base, size)
        for i in range(kept.size):
            within = (size[i] > cut) | ((size[i] == cut) & (start + i <= y))
            kept[i] = np.uint16(0xFFFF) if within else np.uint16(0)


class Strip(NamedTuple):
    """What a kernel works in, a row each for Father, Mother, the base and the child."""

    word: NDArray[np.uint32]
    value: NDArray[np.float32]  # the same memory
    kept: NDArray[np.uint16]

    @classmethod
    def new(cls) -> "Strip":
        """All is kept, unless a kernel finds otherwise."""
        word = np.empty((4, STRIP), np.uint32)
        return cls(word, word.view(np.float32), np.full((2, STRIP), 0xFFFF, np.uint16))


def kernel_of(method: Method) -> Callable[..., None]:
    """`run(a, b, base, child, keep_a, keep_b, high_a, high_b, known_a, known_b, numbers, start, strip)` for a method.

    a, b, base, child: elements from flat index `start` on, all of them as `darwinmerge.merge.kernel.words` gives them.
    keep_a, keep_b: `encoded`. high_a, high_b: the draws' high bytes, as many, or none; known_a, known_b: whether they
    are known (see `darwinmerge.merge.drawn`). numbers: `exact`.
    """
    with _ONE:  # many threads ask for the first one at once, and each would compile its own
        return _made(method)


@cache
def _made(method: Method) -> Callable[..., None]:
    combine: Any = method.combine
    formula = _compiled(combine)

    @numba.njit(nogil=True, error_model="numpy")
    def apply(a, b, base, kept_a, kept_b, numbers, child):  # type: ignore[no-untyped-def]
        for i in range(child.size):
            block = Block(a[i], b[i], base[i], kept_a[i] != 0, kept_b[i] != 0)
            child[i] = formula(_ELEMENTS, block, numbers)

    @numba.njit(nogil=True)
    def run(a, b, base, child, keep_a, keep_b, high_a, high_b, known_a, known_b, numbers, start, strip):  # type: ignore[no-untyped-def]
        for s in range(0, child.size, STRIP):
            e = s + STRIP
            n = STRIP if e <= child.size else child.size - s
            of_a, of_b, of_base = strip.value[0, :n], strip.value[1, :n], strip.value[2, :n]
            kept_a, kept_b = strip.kept[0, :n], strip.kept[1, :n]
            widen(a[s:e], strip.word[0, :n])
            widen(b[s:e], strip.word[1, :n])
            widen(base[s:e], strip.word[2, :n])
            _keep(kept_a, of_a, of_base, keep_a, high_a[s:e], known_a, start + s)
            _keep(kept_b, of_b, of_base, keep_b, high_b[s:e], known_b, start + s)
            apply(of_a, of_b, of_base, kept_a, kept_b, numbers, strip.value[3, :n])
            narrow(strip.word[3, :n], child[s:e])

    found: Callable[..., None] = run
    return found

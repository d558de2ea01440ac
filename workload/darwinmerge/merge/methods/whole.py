"""A tensor as a whole: sums and ranks that a method needs before it merges an element.

Neither threads nor the sizes of reads change a bit of them. Sums are of float64, over fixed blocks of 65,536 elements,
one after the other within a block and blocks in order. Ranks are counted: a float32's bits without its sign, taken for
an integer, are in the order of magnitudes, so two passes that count (16 bits, then 16 bits) find the k-th greatest
exactly, in memory that doesn't grow with the tensor; a third finds where ties are cut.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from darwinmerge.canonical import rounded
from darwinmerge.merge.methods.method import MAGNITUDE, Drawn, Largest
from darwinmerge.parallel import cut, in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from darwinmerge.checkpoint.folder import Elements

T = TypeVar("T")
BLOCK = 1 << 16  # elements summed up at a time


class Whole(NamedTuple):
    """A tensor of Father, of Mother and of the base, to be read."""

    a: "Elements"
    b: "Elements"
    base: "Elements | None" = None
    threads: int | None = None  # None: all cores

    @property
    def size(self) -> int:
        """Elements."""
        return len(self.a)

    @property
    def given(self) -> "tuple[Elements, ...]":
        """What there is of them."""
        return (self.a, self.b) if self.base is None else (self.a, self.b, self.base)

    def products(self) -> tuple[float, float, float]:
        """|A|^2, the product of A and B, and |B|^2."""
        from darwinmerge.merge.methods import whole_kernel

        def of(part: slice) -> "NDArray[np.float64]":
            found: NDArray[np.float64] = whole_kernel.products(_values(self.a, part), _values(self.b, part))
            return found

        aa, ab, bb = _added(self._each(of), 3)
        return aa, ab, bb

    def l1_scale(self, who: str, keep: Drawn) -> float:
        """Sum of magnitudes of a task vector over that of its kept elements, to 12 digits; 1 where these are 0."""
        from darwinmerge.merge.methods import whole_kernel

        def of(part: slice) -> "NDArray[np.float64]":
            kept = whole_kernel.drawn(part.start, part.stop, keep)
            found: NDArray[np.float64] = whole_kernel.magnitudes(self._delta(who, part), kept)
            return found

        every, kept = _added(self._each(of), 2)
        return rounded(every / kept) if kept > 0 else 1.0

    def largest(self, who: str, count: int) -> Largest | None:
        """Which elements of a task vector are the `count` of the greatest magnitude; None: all.

        Of those with the magnitude at which it cuts, the first by flat index. NaN counts as greater than all.
        """
        from darwinmerge.merge.methods import whole_kernel

        if count >= self.size:
            return None
        if count <= 0:
            return Largest(MAGNITUDE, -1)  # no float32 has a greater one
        high, above = _cut_at(self._counts(who, whole_kernel.count_high), count)
        low, more = _cut_at(self._counts(who, partial(whole_kernel.count_low, high=high)), count - above)
        magnitude, wanted = high << 16 | low, count - above - more
        return Largest(magnitude, self._place(who, magnitude, wanted))

    def _counts(self, who: str, count: "Callable[[NDArray[np.float32]], NDArray[np.int64]]") -> "NDArray[np.int64]":
        total: NDArray[np.int64] | None = None
        for found in self._each(lambda part: count(self._delta(who, part))):
            total = found if total is None else total + found
        assert total is not None
        return total

    def _place(self, who: str, magnitude: int, wanted: int) -> int:
        """Flat index of the `wanted`-th element, from 1, of a magnitude."""
        from darwinmerge.merge.methods import whole_kernel

        def of(part: slice) -> "NDArray[np.int64]":
            found: NDArray[np.int64] = whole_kernel.places(self._delta(who, part), magnitude) + part.start
            return found

        for found in self._each(of):
            if len(found) >= wanted:
                return int(found[wanted - 1])
            wanted -= len(found)
        raise AssertionError("a magnitude that was counted is not there: the file changed while it was read")

    def _each(self, job: Callable[[slice], T]) -> Iterator[T]:
        """What `job` gives for each part, in order; a part is whole blocks, but for the last."""
        step = max(min(each.step for each in self.given) // BLOCK, 1) * BLOCK
        parts = cut(slice(0, self.size), step)
        if len(parts) == 1:
            return iter([job(parts[0])])
        return in_order((partial(job, part) for part in parts), self.threads)

    def _delta(self, who: str, part: slice) -> "NDArray[np.float32]":
        import numpy as np

        assert self.base is not None
        with np.errstate(invalid="ignore", over="ignore"):
            return _values(self.a if who == "a" else self.b, part) - _values(self.base, part)


def _values(elements: "Elements", part: slice) -> "NDArray[np.float32]":
    from darwinmerge.checkpoint.dtypes import widen

    return widen(elements[part], elements.dtype)


def _added(sums: "Iterator[NDArray[np.float64]]", columns: int) -> tuple[float, ...]:
    """Sums of blocks, a row each, added in order."""
    totals = [0.0] * columns
    for rows in sums:
        for row in rows.tolist():
            totals = [total + x for total, x in zip(totals, row, strict=True)]
    return tuple(totals)


def _cut_at(counts: "NDArray[np.int64]", wanted: int) -> tuple[int, int]:
    """The bin of the `wanted`-th greatest, from 1, and how many lie in the bins above it."""
    down = counts[::-1]
    upto = down.cumsum()
    place = int(upto.searchsorted(wanted))
    return len(counts) - 1 - place, int(upto[place] - down[place])

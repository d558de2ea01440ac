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

    from darwinmerge.checkpoint.dtypes import Bits
    from darwinmerge.checkpoint.folder import Elements
    from darwinmerge.merge.drawn import Known

T = TypeVar("T")
BLOCK = 1 << 16  # elements summed up at a time


class Whole(NamedTuple):
    """A tensor of Father, of Mother and of the base, to be read."""

    a: "Elements"
    b: "Elements"
    base: "Elements | None" = None
    threads: int | None = None  # None: all cores
    draws: "Callable[[str, Drawn], Known] | None" = None  # of a parent's mask what is known (`darwinmerge.merge.drawn`)

    @property
    def size(self) -> int:
        """Elements."""
        return len(self.a)

    @property
    def given(self) -> "tuple[Elements, ...]":
        """What there is of them."""
        return (self.a, self.b) if self.base is None else (self.a, self.b, self.base)

    def known(self, who: str, keep: Drawn) -> "Known":
        """What is known of the draws of a parent's mask."""
        from darwinmerge.merge.drawn import UNKNOWN

        return self.draws(who, keep) if self.draws else UNKNOWN

    def products(self) -> tuple[float, float, float]:
        """|A|^2, the product of A and B, and |B|^2."""
        from darwinmerge.merge.methods import whole_kernel

        aa, ab, bb = _added(self._each(lambda part: whole_kernel.products(*_words(self.a, self.b, part))), 3)
        return aa, ab, bb

    def l1_scale(self, who: str, keep: Drawn) -> float:
        """Sum of magnitudes of a task vector over that of its kept elements, to 12 digits; 1 where these are 0."""
        from darwinmerge.merge.methods import whole_kernel

        high, known = self.known(who, keep)

        def of(part: slice) -> "NDArray[np.float64]":
            mask = high[part], known, *keep.key, keep.below, part.start
            found: NDArray[np.float64] = whole_kernel.magnitudes(*self._vector(who, part), *mask)
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

    def _counts(self, who: str, count: "Callable[[Bits, Bits], NDArray[np.int64]]") -> "NDArray[np.int64]":
        total: NDArray[np.int64] | None = None
        for found in self._each(lambda part: count(*self._vector(who, part))):
            total = found if total is None else total + found
        assert total is not None
        return total

    def _place(self, who: str, magnitude: int, wanted: int) -> int:
        """Flat index of the `wanted`-th element, from 1, of a magnitude."""
        from darwinmerge.merge.methods import whole_kernel

        def place(part: slice, nth: int) -> tuple[int, int]:
            found: tuple[int, int] = whole_kernel.place(*self._vector(who, part), magnitude, nth)
            return found

        for part, (_, seen) in zip(self._parts(), self._each(partial(place, nth=self.size + 1)), strict=True):
            if seen >= wanted:
                return int(part.start) + place(part, wanted)[0]
            wanted -= seen
        raise AssertionError("a magnitude that was counted is not there: the file changed while it was read")

    def _parts(self) -> list[slice]:
        """Whole blocks, but for the last, of as many elements as are read at a time."""
        return cut(slice(0, self.size), max(min(each.step for each in self.given) // BLOCK, 1) * BLOCK)

    def _each(self, job: Callable[[slice], T]) -> Iterator[T]:
        """What `job` gives for each part, in order."""
        parts = self._parts()
        if len(parts) == 1:
            return iter([job(parts[0])])
        return in_order((partial(job, part) for part in parts), self.threads)

    def _vector(self, who: str, part: slice) -> "tuple[Bits, Bits]":
        """A parent's elements and the base's, as kernels take them."""
        assert self.base is not None
        return _words(self.a if who == "a" else self.b, self.base, part)


def _words(one: "Elements", other: "Elements", part: slice) -> "tuple[Bits, Bits]":
    from darwinmerge.merge.kernel import words

    narrow = one.dtype == other.dtype == "BF16"
    return words(one[part], one.dtype, narrow), words(other[part], other.dtype, narrow)


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

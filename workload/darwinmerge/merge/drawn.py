"""Draws that are kept from one child to the next: of a run's children only the density differs, not what is drawn.

The high byte of each draw decides on all but one element in 256, whatever the density; there the draw is made again.
So a byte an element saves most of the work of a mask, bit for bit.
"""

import numpy as np
from numpy.typing import NDArray

BYTES = 1 << 29  # of memory at most: beyond, tensors are drawn anew each time
High = NDArray[np.uint8]
NONE: High = np.empty(0, np.uint8)


class Draws:
    """High bytes of draws, by tensor."""

    def __init__(self, limit: int = BYTES) -> None:
        """None are known yet; of at most `limit` elements they are kept."""
        self._left = limit
        self._held: dict[str, tuple[tuple[int, int], High]] = {}
        self._known: set[str] = set()

    def of(self, name: str, key: tuple[int, int], size: int) -> tuple[High, bool]:
        """Where those of a tensor of `size` elements are, or are to be written, or none; and whether they are known."""
        drawn_by, high = self._held.get(name, (key, NONE))
        if drawn_by != key:  # another seed's
            self._known.discard(name)
            self._held[name] = key, high
        if not len(high) and size <= self._left:
            self._left -= size
            high = np.empty(size, np.uint8)
            self._held[name] = key, high
        return high, name in self._known

    def are_known(self, name: str) -> None:
        """All of a tensor's are written."""
        if name in self._held:
            self._known.add(name)

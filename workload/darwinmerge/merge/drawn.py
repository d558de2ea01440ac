"""Draws that are kept from one child to the next: of a run's children only the density differs, not what is drawn.

The high byte of each draw decides on all but one element in 256, whatever the density; there the draw is made again.
So a byte an element saves most of the work of a mask, bit for bit.
"""

import numpy as np
from numpy.typing import NDArray

BYTES = 1 << 29  # of memory at most: beyond, tensors are drawn anew each time
High = NDArray[np.uint8]
NONE: High = np.empty(0, np.uint8)
Known = tuple[High, bool]  # high bytes of a tensor's draws, or none, and whether they are known or to be written
UNKNOWN: Known = (NONE, False)


class Draws:
    """High bytes of draws, by tensor and stream."""

    def __init__(self, limit: int = BYTES) -> None:
        """None are known yet; of at most `limit` elements they are kept."""
        self._left = limit
        self._held: dict[tuple[str, str], tuple[tuple[int, int], High]] = {}
        self._known: set[tuple[str, str]] = set()
        self._asked: dict[str, set[str]] = {}  # streams of each tensor, since it was begun

    def begin(self, name: str) -> None:
        """A tensor is merged anew: what was asked for before, and perhaps never written, is none of its own."""
        self._asked[name] = set()

    def of(self, name: str, stream: str, key: tuple[int, int], size: int) -> Known:
        """Those of a tensor of `size` elements: where they are, or are to be written, or none of them."""
        place = name, stream
        drawn_by, high = self._held.get(place, (key, NONE))
        if drawn_by != key:  # another seed's
            self._known.discard(place)
            self._held[place] = key, high
        if not len(high) and size <= self._left:
            self._left -= size
            high = np.empty(size, np.uint8)
            self._held[place] = key, high
        if len(high):
            self._asked.setdefault(name, set()).add(stream)
        return high, place in self._known

    def are_known(self, name: str) -> None:
        """A tensor is merged: all that was asked for is written."""
        self._known.update((name, stream) for stream in self._asked.pop(name, ()))

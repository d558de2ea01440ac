"""The random mask, by counter: Philox4x32-10 (Salmon et al., 2011), the same for every shard, thread and device.

The draw for an element depends on the seed, the stream, the tensor's name and the element's index in the whole
tensor, and on nothing else. An element is kept where its 32-bit draw is below floor(density x 2^32), so a higher
density keeps all that a lower one keeps.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10
M0, M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
W0, W1 = 0x9E3779B9, 0xBB67AE85  # the key's increments each round


def key_of(seed: int, stream: str, name: str) -> tuple[int, int]:
    """The two 32-bit words of the key for a tensor: from SHA-256 of seed, stream (`a` or `b`) and name."""
    raw = hashlib.sha256(f"{seed}\n{stream}\n{name}".encode()).digest()
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little")


def threshold(density: float) -> int:
    """Draws below this are kept; compared in 64 bits, so that density 1 keeps all."""
    return int(density * 2**32)


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> tuple[NDArray[np.uint32], ...]:
    """The four words of Philox4x32-10 for counters (low 64 bits; the upper 64 are 0)."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c0, c1 = counter & mask, counter >> shift
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & mask,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & mask,
        )
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))


def draws(start: int, stop: int, key: tuple[int, int]) -> NDArray[np.uint32]:
    """The draws of elements `start` to `stop` (exclusive) of a tensor, by flat C-order index."""
    return philox(np.arange(start, stop, dtype=np.uint64), key)[0]


def kept(start: int, stop: int, key: tuple[int, int], keep_below: int) -> NDArray[np.bool_]:
    """Whether elements `start` to `stop` (exclusive) are kept, for a `threshold`."""
    return draws(start, stop, key).astype(np.uint64) < np.uint64(keep_below)

"""The fused CPU kernel for BF16: mask and arithmetic in one pass, compiled once, equal to `reference` bit for bit.

A strip of elements goes through plain loops, one step each and without branches on data, so that the compiler
vectorises every one of them. The loops stand in functions of their own and get slices of the strip: only then does
the compiler know that indices start at 0 and don't wrap, which is three times as fast. `fastmath` stays off: no
fused multiply-add, no reordering.
"""

import numba
import numpy as np

from darwinmerge.checkpoint.dtypes import BF16_NAN, Bits
from darwinmerge.checkpoint.dtypes import widen as widened
from darwinmerge.merge import mask
from darwinmerge.merge.methods.method import MAGNITUDE

STRIP = 4096  # elements in flight: they stay in the first-level cache
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)  # of eight bytes: their low, their top bits
_MAGNITUDE = np.uint32(MAGNITUDE)
_M0, _M1, _W0, _W1 = (np.uint64(x) for x in (mask.M0, mask.M1, mask.W0, mask.W1))
_PARENT = numba.types.Array(numba.uint16, 1, "C", readonly=True)
HELD = (_PARENT, numba.types.Array(numba.uint32, 1, "C", readonly=True))  # elements as `words` gives them


@numba.njit(inline="always")
def _word(counter, keys0, keys1):  # type: ignore[no-untyped-def]
    """The draw of one element: `mask.draws`; inlined, since a call would keep a loop from being vectorised."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = counter & low, counter >> half, np.uint64(0), np.uint64(0)
    for r in range(mask.ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ keys0[r], p1 & low, (p0 >> half) ^ c3 ^ keys1[r], p0 & low
    return c0


@numba.njit(nogil=True)
def _draw(kept, start, keys0, keys1, keep_below):  # type: ignore[no-untyped-def]
    """All bits of `kept` set where the element is kept, none where it isn't: `mask.kept`."""
    for i in range(kept.size):
        word = _word(start + np.uint64(i), keys0, keys1)
        kept[i] = np.uint16(0xFFFF) if word < keep_below else np.uint16(0)


@numba.njit(nogil=True)
def _draw_high(kept, high, start, keys0, keys1, keep_below):  # type: ignore[no-untyped-def]
    """As `_draw`; and the high byte of each draw."""
    for i in range(kept.size):
        word = _word(start + np.uint64(i), keys0, keys1)
        kept[i] = np.uint16(0xFFFF) if word < keep_below else np.uint16(0)
        high[i] = np.uint8(word >> np.uint64(24))


@numba.njit(nogil=True)
def _recall(kept, high, start, keys0, keys1, keep_below):  # type: ignore[no-untyped-def]
    """As `_draw`, from the high bytes: only where one is that of `keep_below` itself, the draw is made again."""
    edge = np.uint8(keep_below >> np.uint64(24))
    for i in range(kept.size):
        kept[i] = np.uint16(0xFFFF) if high[i] < edge else np.uint16(0)
    whole = kept.size // 8 * 8
    words, edges = high[:whole].view(np.uint64), np.uint64(edge) * _ONES
    for i in range(words.size):
        other = words[i] ^ edges
        if (other - _ONES) & ~other & _TOPS:  # one of its bytes is 0: of 32 words one has it
            for j in range(8 * i, 8 * i + 8):
                if high[j] == edge and _word(start + np.uint64(j), keys0, keys1) < keep_below:
                    kept[j] = np.uint16(0xFFFF)
    for j in range(whole, kept.size):
        if high[j] == edge and _word(start + np.uint64(j), keys0, keys1) < keep_below:
            kept[j] = np.uint16(0xFFFF)


@numba.njit(nogil=True)
def _keys(key0, key1):  # type: ignore[no-untyped-def]
    """The two words of the key in each round."""
    low = np.uint64(0xFFFFFFFF)
    keys0, keys1 = np.empty(mask.ROUNDS, np.uint32), np.empty(mask.ROUNDS, np.uint32)
    keys0[0], keys1[0] = key0, key1
    for r in range(1, mask.ROUNDS):
        keys0[r], keys1[r] = (keys0[r - 1] + _W0) & low, (keys1[r - 1] + _W1) & low
    return keys0, keys1


@numba.njit(
    numba.void(
        *(numba.uint16[::1], numba.uint8[::1], numba.boolean),
        *(numba.uint32, numba.uint32, numba.uint64, numba.uint64),
    ),
    nogil=True,
    cache=True,
)
def draw(kept, high, known, key0, key1, keep_below, start):  # type: ignore[no-untyped-def]
    """All bits of `kept` set where the element is kept, none where it isn't; arguments as of `merge_bf16`."""
    keys0, keys1 = _keys(key0, key1)
    if high.size == 0:
        _draw(kept, start, keys0, keys1, keep_below)
    elif known:
        _recall(kept, high, start, keys0, keys1, keep_below)
    else:
        _draw_high(kept, high, start, keys0, keys1, keep_below)


def words(bits: Bits, dtype: str, narrow: bool) -> Bits:
    """Elements as kernels take them, read-only: BF16 bits where they are `narrow`, else words of float32."""
    held = np.require(bits, np.uint16, ["C", "A"]) if narrow else np.ascontiguousarray(widened(bits, dtype))
    found: Bits = held.view(np.uint16 if narrow else np.uint32)
    found.flags.writeable = False
    return found


@numba.njit([numba.void(held, numba.uint32[::1]) for held in HELD], nogil=True, cache=True)
def widen(bits, word):  # type: ignore[no-untyped-def]
    """The words of float32 (uint32) of BF16 bits; of such words, a copy."""
    shift = np.uint32(16 if bits.itemsize == 2 else 0)
    for i in range(bits.size):
        word[i] = np.uint32(bits[i]) << shift


@numba.njit(numba.void(numba.float32[::1], numba.float32[::1], numba.uint32[::1]), nogil=True, cache=True)
def sizes(value, base, size):  # type: ignore[no-untyped-def]
    """The words of |value - base|, in float32: as integers they are in the order of magnitudes."""
    delta = size.view(np.float32)
    for i in range(value.size):
        delta[i] = value[i] - base[i]
    for i in range(value.size):
        size[i] = size[i] & _MAGNITUDE


@numba.njit(inline="always")
def _near(word):  # type: ignore[no-untyped-def]
    """A float32's word rounded to BF16, to nearest, ties to even; of every NaN one quiet NaN."""
    near = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint32(BF16_NAN) if (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else near


@numba.njit([numba.void(numba.uint32[::1], bits[::1]) for bits in (numba.uint16, numba.uint32)], nogil=True, cache=True)
def narrow(word, bits):  # type: ignore[no-untyped-def]
    """The BF16 bits of float32 words; where words are wanted, a copy."""
    if bits.itemsize == 2:
        for i in range(bits.size):
            bits[i] = np.uint16(_near(word[i]))
    else:
        for i in range(bits.size):
            bits[i] = word[i]


@numba.njit(nogil=True)
def _mix(a, b, out, kept, coefficient, word_a, word_b):  # type: ignore[no-untyped-def]
    """The arithmetic on BF16 bits; `word_a`, `word_b` (uint32) hold the strip in float32 meanwhile."""
    wide_a, wide_b = word_a.view(np.float32), word_b.view(np.float32)
    widen(a, word_a)
    widen(b, word_b)
    for i in range(a.size):
        delta = np.float32(wide_b[i] - wide_a[i])
        delta = np.float32(delta * coefficient)
        wide_b[i] = np.float32(wide_a[i] + delta)
    for i in range(a.size):
        k = kept[i]
        out[i] = (np.uint16(_near(word_b[i])) & k) | (a[i] & ~k)


@numba.njit(
    numba.void(
        *(_PARENT, _PARENT, numba.uint16[::1], numba.float32, numba.uint32, numba.uint32, numba.uint64, numba.uint64),
        *(numba.uint8[::1], numba.boolean),
    ),
    nogil=True,
    cache=True,
)
def merge_bf16(a, b, out, coefficient, key0, key1, keep_below, start, high, known):  # type: ignore[no-untyped-def]
    """Elements of a merged tensor: out = a + (b - a) x coefficient where the mask keeps, else a.

    Args:
        a, b: the parents' elements, BF16 bits, from flat index `start` of the tensor on.
        out: the child's elements, as many.
        coefficient: float32.
        key0, key1: the mask's key.
        keep_below: draws below this are kept; 2**32 keeps all, and draws nothing.
        start: flat index of the first element in the whole tensor.
        high: the draws' high bytes, as many (see `darwinmerge.merge.drawn`), or none.
        known: whether they are known; else they are written.
    """
    kept = np.full(STRIP, 0xFFFF, np.uint16)
    word_a, word_b = np.empty(STRIP, np.uint32), np.empty(STRIP, np.uint32)
    for s in range(0, a.size, STRIP):
        n = min(STRIP, a.size - s)
        if keep_below <= np.uint64(0xFFFFFFFF):
            draw(kept[:n], high[s : s + n], known, key0, key1, keep_below, start + np.uint64(s))
        _mix(a[s : s + n], b[s : s + n], out[s : s + n], kept[:n], coefficient, word_a[:n], word_b[:n])

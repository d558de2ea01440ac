"""Safetensors dtypes as numpy sees them. numpy has no bfloat16: its bits travel as uint16."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.generic]

BF16_NAN = 0x7FC0
COMPARED = 1 << 18  # bytes compared at a time: most tensors that differ do so in the first


@dataclass(frozen=True)
class Dtype:
    """One dtype of the safetensors format."""

    name: str
    size: int  # bytes an element
    bits: np.dtype[np.generic]  # how numpy holds it
    weight: bool  # floating point: it can be merged; integers and booleans are not weights


DTYPES: dict[str, Dtype] = {
    d.name: d
    for d in (
        Dtype("F64", 8, np.dtype("<f8"), True),
        Dtype("F32", 4, np.dtype("<f4"), True),
        Dtype("F16", 2, np.dtype("<f2"), True),
        Dtype("BF16", 2, np.dtype("<u2"), True),
        Dtype("I64", 8, np.dtype("<i8"), False),
        Dtype("I32", 4, np.dtype("<i4"), False),
        Dtype("I16", 2, np.dtype("<i2"), False),
        Dtype("I8", 1, np.dtype("i1"), False),
        Dtype("U8", 1, np.dtype("u1"), False),
        Dtype("BOOL", 1, np.dtype("?"), False),
    )
}


def same_bytes(one: Bits, other: Bits) -> bool:
    """Whether two flat tensors of one dtype are the same, byte for byte: NaN equals itself, -0 differs from 0.

    A part at a time: comparing at once would need as much memory again as the tensor.
    """
    if one.nbytes != other.nbytes:
        return False
    a, b = one.view(np.uint8), other.view(np.uint8)
    return all(np.array_equal(a[i : i + COMPARED], b[i : i + COMPARED]) for i in range(0, len(a), COMPARED))


def widen(bits: Bits, dtype: str) -> NDArray[np.float32]:
    """A tensor's values in float32; exact for BF16, F16 and F32, rounded to nearest for F64."""
    if dtype == "BF16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # signalling NaNs, and F64 beyond float32
        return bits.astype(np.float32)


def convert(bits: Bits, dtype: str, wanted: str) -> Bits:
    """A tensor's elements in another dtype, each rounded once; as they are, bit for bit, where it is the same."""
    return bits if dtype == wanted else narrow(widen(bits, dtype), wanted)


def narrow(values: NDArray[np.float32], dtype: str) -> Bits:
    """float32 values in `dtype`, each rounded once, to nearest, ties to even; every NaN becomes one quiet NaN."""
    if dtype == "BF16":
        word = values.view(np.uint32)
        rounded = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(values), np.uint32(BF16_NAN), rounded).astype(np.uint16)
    with np.errstate(over="ignore"):
        return np.where(np.isnan(values), np.float32(np.nan), values).astype(DTYPES[dtype].bits)

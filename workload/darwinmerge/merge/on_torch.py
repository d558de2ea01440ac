"""The merge in torch, for any device: bit for bit what `arithmetic.reference` and `source_reference` compute.

Torch's own operations are used where IEEE 754 leaves one result (subtract, multiply, add in float32), one kernel
each, since a fused one (addcmul, lerp, a compiled graph) rounds once where the rule says twice. What IEEE leaves open,
or devices do differently, is done on integers here: rounding to bf16 (processors with a bf16 instruction flush
subnormal values), and NaN (CPUs and GPUs have different ones). Torch has no unsigned 64-bit arithmetic, so Philox
runs in int64 on words below 2^32, multiplied by halves of 16 bits: nothing exceeds 2^49.

Elements are taken a block at a time, so that memory is bounded whatever the tensor: about 100 bytes an element of it.
"""

from typing import Literal

import numpy as np
import torch

from darwinmerge.checkpoint.dtypes import BF16_NAN, DTYPES, Bits
from darwinmerge.merge.mask import M0, M1, ROUNDS, W0, W1
from darwinmerge.merge.source import step_dtype

CPU_BLOCK = 1 << 18  # elements merged at a time: larger ones leave the cache, and then the allocator
DEVICE_BLOCK = 1 << 22  # smaller ones leave a GPU waiting for the next kernel
M16, M32 = 0xFFFF, 0xFFFFFFFF

TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in TORCH.items()}
INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # of an element's size: the dtype that holds its bits
_NAN = {"F64": 0x7FF8 << 48, "F32": 0x7FC00000, "F16": 0x7E00, "BF16": BF16_NAN}


def _product(words: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low 32 bits of `words` x `factor`, both below 2^32, in int64 without overflow."""
    low = words * (factor & M16)  # below 2^48
    high = (words * (factor >> 16)).add_(low >> 16)  # below 2^49
    low.bitwise_and_(M16).bitwise_or_((high & M16).bitwise_left_shift_(16))
    return high.bitwise_right_shift_(16), low


def draws(start: int, stop: int, key: tuple[int, int], device: torch.device | str = "cpu") -> torch.Tensor:
    """`mask.draws` on `device`: int64, of shape (stop - start,), each below 2^32; indices are below 2^63."""
    counter = torch.arange(start, stop, dtype=torch.int64, device=device)
    c0, c1 = counter & M32, counter >> 32
    c2 = c3 = torch.zeros_like(c0)
    k0, k1 = key
    for _ in range(ROUNDS):
        (high0, low0), (high1, low1) = _product(c0, M0), _product(c2, M1)
        c0, c2 = high1.bitwise_xor_(c1).bitwise_xor_(k0), high0.bitwise_xor_(c3).bitwise_xor_(k1)
        c1, c3 = low1, low0
        k0, k1 = (k0 + W0) & M32, (k1 + W1) & M32
    return c0


def widen(bits: torch.Tensor, dtype: str) -> torch.Tensor:
    """`dtypes.widen`: float32 values."""
    if dtype == "BF16":
        return (bits.to(torch.int32) << 16).view(torch.float32)
    return bits.view(TORCH[dtype]).to(torch.float32)


def narrow(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """`dtypes.narrow`: the bits of float32 `values` in `dtype`, to nearest, ties to even, every NaN one quiet NaN."""
    if dtype == "BF16":
        word = values.view(torch.int32)
        bits = ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).to(torch.int16)  # only a NaN's word can overflow
    else:
        bits = values.to(TORCH[dtype])
        bits = bits.view(INTEGER[bits.element_size()])
    return bits.masked_fill_(values.isnan(), _NAN[dtype])


def _float32(
    a: torch.Tensor, b: torch.Tensor, dtypes: tuple[str, str], coefficient: float, kept: torch.Tensor | None, out: str
) -> torch.Tensor:
    wide_a, wide_b = widen(a, dtypes[0]), widen(b, dtypes[1])
    delta = wide_b - wide_a
    delta = delta * coefficient
    moved = narrow(wide_a + delta, out)
    return moved if kept is None else torch.where(kept, moved, a if out == dtypes[0] else narrow(wide_a, out))


def _source(
    a: torch.Tensor, b: torch.Tensor, dtypes: tuple[str, str], coefficient: float, kept: torch.Tensor | None, out: str
) -> torch.Tensor:
    step = step_dtype(*dtypes)
    wide_a, wide_b = widen(a, dtypes[0]), widen(b, dtypes[1])
    delta = widen(narrow(wide_b - wide_a, step), step)
    if kept is not None:
        delta = widen(narrow(delta * kept, step), step)
    delta = widen(narrow(delta * coefficient, step), step)
    return narrow(widen(narrow(wide_a + delta, step), step), out)


def merged(
    a: torch.Tensor,
    b: torch.Tensor,
    coefficient: np.float32,
    key: tuple[int, int],
    keep_below: int,
    start: int = 0,
    arithmetic: Literal["Float32", "Source"] = "Float32",
    block: int | None = None,
    out: torch.dtype | None = None,
) -> torch.Tensor:
    """Elements of a merged tensor; `a`, `b` are the parents' elements from flat index `start` on.

    `a`, `b`: flat, of one length and on one device, of float64, float32, float16 or bfloat16 each. The result is
    on their device and has the dtype `out` (None: that of `a`). `key` and `keep_below` are the mask's, as
    `mask.key_of` and `mask.threshold` give them; neither `block` (elements at a time) nor where a tensor is cut
    changes a bit.

    Raises:
        KeyError: a dtype is none of the four.
    """
    dtypes = NAMES[a.dtype], NAMES[b.dtype]
    of_a, of_b = (x.view(INTEGER[x.element_size()]) for x in (a, b))
    combine = _source if arithmetic == "Source" else _float32
    wanted = out or a.dtype
    child = torch.empty(len(a), dtype=INTEGER[wanted.itemsize], device=a.device)
    step = block or (CPU_BLOCK if a.device.type == "cpu" else DEVICE_BLOCK)
    for i in range(0, len(a), step):
        j = min(i + step, len(a))
        kept = None if keep_below > M32 else draws(start + i, start + j, key, a.device) < keep_below
        child[i:j] = combine(of_a[i:j], of_b[i:j], dtypes, float(coefficient), kept, NAMES[wanted])
    return child.view(wanted)


def to_torch(bits: Bits, dtype: str, device: torch.device | str = "cpu") -> torch.Tensor:
    """A tensor of safetensors dtype `dtype`, flat, on `device`; a copy, since a mapped file can't be written to."""
    held = np.array(bits, copy=True).view(f"i{DTYPES[dtype].size}")
    return torch.from_numpy(held).to(device).view(TORCH[dtype])


def to_bits(values: torch.Tensor) -> Bits:
    """The flat bits of a tensor, as `Dtype.bits` holds them, on this machine's memory."""
    dtype = next(DTYPES[name] for name, known in TORCH.items() if known == values.dtype)
    return values.view(INTEGER[values.element_size()]).cpu().numpy().view(dtype.bits)

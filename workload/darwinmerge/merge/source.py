"""`arithmetic: Source`, the card's letter: `(ta + (tb - ta) * mask * ratio)` as torch computes it on the tensors.

Torch computes one operation of two 16-bit tensors in float32 and rounds its result to the tensors' dtype; a Python
number is a float32 there, not a 16-bit one; a boolean mask is 0 or 1 in the tensors' dtype. So, between bf16
parents, each of the four steps is rounded to bf16 and the ratio isn't. Tensors of two dtypes are promoted to
float32, where the steps are then rounded; float64 is taken as float32, as in the `Float32` arithmetic.

The mask is a factor here, not a choice, with two effects that `Float32` doesn't have: where it drops an element,
-0.0 of Father's may become 0.0, and an infinite or NaN difference becomes NaN (0 x inf). Every NaN of the result is
the one quiet NaN, whereas torch's differ from device to device.
"""

import numpy as np
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import Bits, narrow, widen


def step_dtype(of_a: str, of_b: str) -> str:
    """The dtype that each step is rounded to: the parents' own where both have the same 16-bit dtype, else F32."""
    return of_a if of_a == of_b and of_a in ("BF16", "F16") else "F32"


def source_reference(
    a: Bits,
    b: Bits,
    dtypes: tuple[str, str],
    coefficient: np.float32,
    kept: NDArray[np.bool_],
    out: str | None = None,
) -> Bits:
    """Elements of a merged tensor, in numpy and in the dtype `out` (None: Father's); `kept` is their mask.

    `a`, `b` are as `Dtype.bits` holds them, flat; `coefficient` is the final ratio, rescaled.
    """
    step = step_dtype(*dtypes)

    def stepped(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return widen(narrow(values, step), step)

    with np.errstate(invalid="ignore", over="ignore"):
        wide_a, wide_b = widen(a, dtypes[0]), widen(b, dtypes[1])
        delta = stepped(wide_b - wide_a)
        delta = stepped(delta * kept.astype(np.float32))
        delta = stepped(delta * coefficient)
        return narrow(stepped(wide_a + delta), out or dtypes[0])

"""A method's formula over a tensor's elements, in numpy: in float32, a strip at a time, rounded once at the end.

A strip is as much as the caches hold. Masks are by flat index in the whole tensor, so neither strips nor the blocks in
which a tensor is read show. `darwinmerge.merge.combine_torch` is the same for any device.
"""

import numpy as np
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, narrow, widen
from darwinmerge.merge.methods.method import MAGNITUDE, Block, Drawn, Keep, Method, Plan
from darwinmerge.merge.methods.whole_kernel import drawn

STRIP = 1 << 16  # elements; with a base some ten arrays of them are in flight


def combined(
    bits: tuple[Bits, Bits, Bits | None],
    dtypes: tuple[str, str, str],
    method: Method,
    plan: Plan,
    start: int,
    out: str,
    strip: int = STRIP,
) -> Bits:
    """Elements of a merged tensor in the dtype `out`.

    Args:
        bits: elements of Father, Mother and the base (None: the method has none) from flat index `start` on.
        dtypes: theirs, of safetensors.
        method: whose formula it is.
        plan: what the method planned for the whole tensor.
        start: flat index of the first element in the whole tensor.
        out: the child's dtype.
        strip: elements at a time; changes no bit.
    """
    child = np.empty(len(bits[0]), DTYPES[out].bits)
    for i in range(0, len(child), strip):
        j = min(i + strip, len(child))
        a, b, base = (
            None if each is None else widen(each[i:j], dtype) for each, dtype in zip(bits, dtypes, strict=True)
        )
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            kept_a, kept_b = _kept(plan.keep_a, a, base, start + i), _kept(plan.keep_b, b, base, start + i)
            child[i:j] = narrow(method.combine(np, Block(a, b, base, kept_a, kept_b), plan.numbers), out)
    return child


def _kept(
    keep: Keep, values: NDArray[np.float32] | None, base: NDArray[np.float32] | None, start: int
) -> NDArray[np.bool_] | None:
    """Whether each element of a task vector is kept; None: all are."""
    if keep is None:
        return None
    assert values is not None
    if isinstance(keep, Drawn):
        return drawn(start, start + len(values), keep)
    assert base is not None
    magnitude = (values - base).view(np.uint32) & np.uint32(MAGNITUDE)
    within = np.arange(start, start + len(values)) <= keep.last
    kept: NDArray[np.bool_] = (magnitude > np.uint32(keep.magnitude)) | (
        (magnitude == np.uint32(keep.magnitude)) & within
    )
    return kept

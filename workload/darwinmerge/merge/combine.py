"""A method's formula over a tensor's elements: in float32, rounded once at the end, by a kernel compiled of its text.

Where all of it is BF16, the kernel reads and writes BF16; else a chunk at a time is widened before and rounded after.
Masks are by flat index in the whole tensor, so neither chunks nor the blocks in which a tensor is read show.
`darwinmerge.merge.combine_torch` is the same for any device.
"""

import numpy as np

from darwinmerge.checkpoint.dtypes import Bits, narrow
from darwinmerge.merge.combine_kernel import Strip, encoded, exact, kernel_of
from darwinmerge.merge.drawn import UNKNOWN, Known
from darwinmerge.merge.kernel import words
from darwinmerge.merge.methods.method import Method, Plan

CHUNK = 1 << 18  # elements


def combine(
    bits: tuple[Bits, Bits, Bits | None],
    dtypes: tuple[str, str, str],
    method: Method,
    plan: Plan,
    start: int,
    out: tuple[Bits, str],
    draws: tuple[Known, Known] = (UNKNOWN, UNKNOWN),
    chunk: int = CHUNK,
) -> None:
    """Elements of a merged tensor, put into `out`.

    Args:
        bits: elements of Father, Mother and the base (None: the method has none) from flat index `start` on.
        dtypes: theirs, of safetensors.
        method: whose formula it is.
        plan: what the method planned for the whole tensor.
        start: flat index of the first element in the whole tensor.
        out: the child's elements, as many, and their dtype.
        draws: what is known of the elements' draws, in Father's mask and in Mother's (`darwinmerge.merge.drawn`).
        chunk: elements at a time; changes no bit.
    """
    child, dtype_out = out
    run, numbers, strip = kernel_of(method), exact(plan.numbers), Strip.new()
    given = [(each, dtype) for each, dtype in zip(bits, dtypes, strict=True) if each is not None]
    fused = {dtype_out, *(dtype for _, dtype in given)} == {"BF16"}
    keeps = encoded(plan.keep_a), encoded(plan.keep_b)
    for i in range(0, len(child), chunk):
        part = slice(i, i + chunk)
        held = [words(each[part], dtype, fused) for each, dtype in given]
        made = child[part] if fused else np.empty(len(held[0]), np.uint32)
        high, known = zip(*((bytes_[part], known) for bytes_, known in draws), strict=True)
        run(*held[:2], held[-1], made, *keeps, *high, *known, numbers, start + i, strip)
        if not fused:
            child[part] = narrow(made.view(np.float32), dtype_out)

"""A method's formula over a tensor's elements, in torch, on any device: bit for bit what `combine` computes in numpy.

The formula is the same text (`Method.combine`); widening, rounding and random draws are those of
`darwinmerge.merge.on_torch`. The plan is made beforehand, on the CPU: its sums have an order that a GPU doesn't keep.
"""

from typing import Any

import torch

from darwinmerge.merge.methods.method import MAGNITUDE, Block, Drawn, Keep, Method, Plan
from darwinmerge.merge.on_torch import CPU_BLOCK, DEVICE_BLOCK, INTEGER, NAMES, draws, narrow, widen


def combined(
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    method: Method,
    plan: Plan,
    start: int = 0,
    block: int | None = None,
    out: torch.dtype | None = None,
) -> torch.Tensor:
    """Elements of a merged tensor, on the device of the given ones.

    Args:
        tensors: flat elements of Father, Mother and the base (None: the method has none) from flat index `start` on,
            of one length and on one device, of float64, float32, float16 or bfloat16 each.
        method: whose formula it is.
        plan: what the method planned for the whole tensor.
        start: flat index of the first element in the whole tensor.
        block: elements at a time; changes no bit.
        out: the child's dtype; None: Father's.

    Raises:
        KeyError: a dtype is none of the four.
    """
    father = tensors[0]
    wanted = out or father.dtype
    child = torch.empty(len(father), dtype=INTEGER[wanted.itemsize], device=father.device)
    step = block or (CPU_BLOCK if father.device.type == "cpu" else DEVICE_BLOCK)
    xp: Any = torch
    for i in range(0, len(father), step):
        j = min(i + step, len(father))
        a, b, base = (None if each is None else _wide(each[i:j]) for each in tensors)
        kept_a, kept_b = _kept(plan.keep_a, a, base, start + i), _kept(plan.keep_b, b, base, start + i)
        moved = method.combine(xp, Block(a, b, base, kept_a, kept_b), plan.numbers)
        child[i:j] = narrow(moved, NAMES[wanted])
    return child.view(wanted)


def _wide(values: torch.Tensor) -> torch.Tensor:
    return widen(values.view(INTEGER[values.element_size()]), NAMES[values.dtype])


def _kept(keep: Keep, values: torch.Tensor | None, base: torch.Tensor | None, start: int) -> torch.Tensor | None:
    """Whether each element of a task vector is kept; None: all are."""
    if keep is None:
        return None
    assert values is not None
    if isinstance(keep, Drawn):
        return draws(start, start + len(values), keep.key, values.device) < keep.below
    assert base is not None
    magnitude = (values - base).view(torch.int32) & MAGNITUDE
    within = torch.arange(start, start + len(values), device=values.device) <= keep.last
    return (magnitude > keep.magnitude) | ((magnitude == keep.magnitude) & within)

"""How far a tensor of the child and of Mother lie from Father's."""

from functools import partial

import numpy as np

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.health.compare import Distances
from darwinmerge.parallel import in_order

BLOCK = 1 << 18


def distances(name: str, child: ModelFolder, father: ModelFolder, mother: ModelFolder) -> Distances | None:
    """Squared distances from Father's tensor, blocks summed in order; None where one of the three lacks it."""
    folders = (child, father, mother)
    if any(name not in folder.tensors for folder in folders):
        return None
    dtypes = [folder.info(name).dtype for folder in folders]
    shapes = {folder.info(name).shape for folder in folders}
    if len(shapes) > 1 or not all(DTYPES[dtype].weight for dtype in dtypes):
        return None
    flat = [folder.bits(name) for folder in folders]
    starts = range(0, len(flat[0]), BLOCK)
    blocks = list(in_order(partial(squares, [x[start : start + BLOCK] for x in flat], dtypes) for start in starts))
    return Distances(child=sum(child for child, _ in blocks), mother=sum(mother for _, mother in blocks))


def squares(bits: list[Bits], dtypes: list[str]) -> tuple[float, float]:
    """Squared distances of elements of (child, father, mother): child from Father, Mother from Father; in float64."""
    child, father, mother = (widen(x, dtype).astype(np.float64) for x, dtype in zip(bits, dtypes, strict=True))
    return float(((child - father) ** 2).sum()), float(((mother - father) ** 2).sum())

"""How far a tensor of the child and of Mother lie from Father's."""

from functools import partial
from itertools import chain

import numpy as np

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, widen
from darwinmerge.checkpoint.folder import Elements, ModelFolder, threads
from darwinmerge.health.compare import Distances
from darwinmerge.parallel import cut, in_order

BLOCK = 1 << 18  # elements summed up at a time
READ = 1 << 20  # elements read at a time: whole blocks


def distances(name: str, child: ModelFolder, father: ModelFolder, mother: ModelFolder) -> Distances | None:
    """Squared distances from Father's tensor, blocks summed in order; None where one of the three lacks it."""
    folders = (child, father, mother)
    if any(name not in folder.tensors for folder in folders):
        return None
    dtypes = [folder.info(name).dtype for folder in folders]
    shapes = {folder.info(name).shape for folder in folders}
    if len(shapes) > 1 or not all(DTYPES[dtype].weight for dtype in dtypes):
        return None
    flat = [folder.elements(name) for folder in folders]
    jobs = (partial(_blocks, flat, dtypes, part) for part in cut(slice(0, len(flat[0])), READ))
    blocks = list(chain.from_iterable(in_order(jobs, threads(*folders))))
    return Distances(child=sum(child for child, _ in blocks), mother=sum(mother for _, mother in blocks))


def _blocks(flat: list[Elements], dtypes: list[str], part: slice) -> list[tuple[float, float]]:
    bits = [elements[part] for elements in flat]
    return [squares([each[block] for each in bits], dtypes) for block in cut(slice(0, len(bits[0])), BLOCK)]


def squares(bits: list[Bits], dtypes: list[str]) -> tuple[float, float]:
    """Squared distances of elements of (child, father, mother): child from Father, Mother from Father; in float64."""
    child, father, mother = (widen(x, dtype).astype(np.float64) for x, dtype in zip(bits, dtypes, strict=True))
    return float(((child - father) ** 2).sum()), float(((mother - father) ** 2).sum())

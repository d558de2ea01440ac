"""How a child's tensors are spread over files, and the bytes of each file, a few MB at a time."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from darwinmerge.checkpoint.folder import ModelFolder, threads
from darwinmerge.checkpoint.header import build_header
from darwinmerge.merge.arithmetic import child_info, jobs
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.parallel import in_order

Shard = tuple[Decision, ...]


def split(recipe: Recipe, father: ModelFolder, mother: ModelFolder, limit: int) -> list[Shard]:
    """Tensors in order of names, as many a file as fit into `limit` bytes, at least one."""
    shards: list[list[Decision]] = [[]]
    used = 0
    for decision in recipe.decisions:
        size = child_info(decision, recipe, father, mother).nbytes
        if shards[-1] and used + size > limit:
            shards.append([])
            used = 0
        shards[-1].append(decision)
        used += size
    return [tuple(shard) for shard in shards]


def file_name(number: int, of: int) -> str:
    """Name of the shard `number`, counted from 1."""
    return f"model-{number:05d}-of-{of:05d}.safetensors"


def content(
    shard: Shard, recipe: Recipe, father: ModelFolder, mother: ModelFolder, base: ModelFolder | None = None
) -> Iterator[bytes | memoryview]:
    """The bytes of one file, header first."""
    infos = [child_info(decision, recipe, father, mother) for decision in shard]
    yield build_header([(info.name, info.dtype, info.shape) for info in infos])
    work = (job for decision in shard for job in jobs(decision, recipe, father, mother, base))
    for block in in_order(work, threads(father, mother)):
        yield block.view(np.uint8).data


def index(shards: Sequence[Shard], total_size: int) -> bytes:
    """`model.safetensors.index.json`: written last, so that a folder that can be loaded is whole."""
    files = {d.name: file_name(i, len(shards)) for i, shard in enumerate(shards, 1) for d in shard}
    return json.dumps({"metadata": {"total_size": total_size}, "weight_map": files}, indent=1).encode()

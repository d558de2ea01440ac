"""A child's folder, written file by file: weights, Father's config and tokenizer, the record, and the index last."""

from collections.abc import Callable, Iterable, Iterator

from darwinmerge.checkpoint.folder import INDEX, ModelFolder
from darwinmerge.merge.arithmetic import child_info
from darwinmerge.merge.recipe import Recipe
from darwinmerge.publish.record import RecordFile
from darwinmerge.publish.shards import content, file_name, index, split
from darwinmerge.store import Store, stored_ref


def write_child(
    store: Store,
    folder: str,
    recipe: Recipe,
    parents: tuple[ModelFolder, ...],
    limit: int,
    tell: Callable[[int, int], None],
    record: RecordFile,
) -> tuple[dict[str, str], int]:
    """Write a child under the prefix `folder`; files that are there already are kept, so that it can be resumed.

    Args:
        parents: Father, Mother and, where the recipe has one, the base.
        limit: greatest bytes of a weight file.
        tell: hears of each few MB: (bytes written, of); it may raise, and the file in work is then begun anew.
        record: name and content of a file that tells of the others, given the SHA-256 of each weight file.

    Returns:
        The SHA-256 of each weight file, and the bytes of all tensors.
    """
    father, mother = parents[:2]
    shards = split(recipe, father, mother, limit)
    sizes = [sum(child_info(decision, recipe, father, mother).nbytes for decision in shard) for shard in shards]
    total, files = sum(sizes), {}
    for number, shard in enumerate(shards, 1):
        name, before = file_name(number, len(shards)), sum(sizes[: number - 1])
        if store.head(folder + name):
            ref = stored_ref(store, folder + name)
        else:
            parts = _told(content(shard, recipe, *parents), before, total, tell)
            ref = store.put_shard(folder + name, parts)
        files[name] = ref.sha256
        tell(before + sizes[number - 1], total)
    for side in father.side_files():
        store.create(folder + side, father.read(side))
    store.create(folder + record[0], record[1](files))
    store.create(folder + INDEX, index(shards, total))
    return files, total


def _told(
    parts: Iterable[bytes | memoryview], done: int, total: int, tell: Callable[[int, int], None]
) -> Iterator[bytes | memoryview]:
    for number, part in enumerate(parts):
        yield part
        if number:  # the first is the header
            done += len(part)
            tell(done, total)

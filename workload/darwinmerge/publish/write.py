"""A child's folder, written file by file: weights, Father's config and tokenizer, the record, and the index last."""

from collections.abc import Callable

from darwinmerge.checkpoint.folder import INDEX, ModelFolder
from darwinmerge.merge.arithmetic import child_info
from darwinmerge.merge.recipe import Mixing, Pins, Recipe
from darwinmerge.publish.record import Record, versions
from darwinmerge.publish.shards import content, file_name, index, split
from darwinmerge.search.genome import Genome
from darwinmerge.store import Store, layout, stored_ref


def write_child(
    store: Store,
    folder: str,
    recipe: Recipe,
    parents: tuple[ModelFolder, ModelFolder],
    told: tuple[Genome, Mixing, str],
    limit: int,
    tell: Callable[[int, int], None],
) -> tuple[Record, int]:
    """Write a child under the prefix `folder`; files that are there already are kept, so that it can be resumed.

    Args:
        told: what the recipe came from, for the record: genome, mixing, digest of the MRI table.
        limit: greatest bytes of a weight file.
        tell: hears of each weight file: (written, of).

    Returns:
        The record, and the bytes of all tensors.
    """
    father, mother = parents
    shards = split(recipe, father, mother, limit)
    files = {}
    for number, shard in enumerate(shards, 1):
        name = file_name(number, len(shards))
        there = store.head(folder + name)
        ref = stored_ref(store, folder + name) if there else None
        files[name] = (ref or store.put_shard(folder + name, content(shard, recipe, father, mother))).sha256
        tell(number, len(shards))
    genome, mixing, table = told
    record = Record(
        father=father.file_digests,
        mother=mother.file_digests,
        pins=Pins(father=father.pin, mother=mother.pin),
        genome=genome,
        mixing=mixing,
        table=table,
        recipe=recipe,
        recipe_id=recipe.id,
        accounts=recipe.accounts(),
        files=files,
        versions=versions(),
    )
    for path in father.side_files():
        store.create(folder + path.name, path.read_bytes())
    store.create(folder + layout.CHILD_RECORD, record.model_dump_json(by_alias=True, indent=1).encode())
    total = sum(child_info(decision, recipe, father, mother).nbytes for decision in recipe.decisions)
    store.create(folder + INDEX, index(shards, total))
    return record, total

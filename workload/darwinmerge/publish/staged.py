"""A child between the pod that merges it and the pod that scores it: a model folder in the store, for a while.

Written shard by shard, so that a preempted merge goes on after its last shard; the index, written last, says that it
is whole. `staged.json` holds the SHA-256 of its weight files, which whoever reads it checks.
"""

import json
from collections.abc import Callable

from darwinmerge.checkpoint.folder import INDEX, ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadInput
from darwinmerge.merge.recipe import Recipe
from darwinmerge.pipeline.retention import Spent
from darwinmerge.publish.write import write_child
from darwinmerge.store import Store, fetch_json, layout

CHECKSUMS = "staged.json"
SHARD = 2 * 10**9  # bytes of a weight file: what a preempted merge may have to do again


def write_staged(
    store: Store, recipe: Recipe, parents: tuple[ModelFolder, ...], tell: Callable[[int, int], None]
) -> None:
    """Stage the child of `recipe`, unless it is there; `tell` hears of bytes (done, of)."""
    folder = layout.staged(recipe.id)
    if not is_staged(store, recipe.id):
        write_child(store, folder, recipe, parents, SHARD, tell, (CHECKSUMS, lambda files: json.dumps(files).encode()))


def is_staged(store: Store, recipe: str) -> bool:
    """Whether the child of a recipe is there, and whole."""
    return store.head(layout.staged(recipe) + INDEX) is not None


def staged(store: Store, recipe: str) -> ModelFolder:
    """The staged child of a recipe, which is there.

    Raises:
        BadInput: its weights are not those that were written.
    """
    folder = layout.staged(recipe)
    child = open_model(f"{store.uri}/{folder}".rstrip("/"))
    expected = fetch_json(store, folder + CHECKSUMS)
    if {name: sha for name, sha in child.file_digests.items() if name in expected} != expected:
        raise BadInput(f"store {store.uri}: {folder} was changed after it was written; delete it and run again")
    return child


def drop(store: Store, spent: Spent) -> None:
    """Remove staged children, each one's index first, so that what is left of it is never taken for whole."""
    folders = [layout.STAGED] if spent == "All" else [layout.staged(recipe) for recipe in spent]
    for folder in folders:
        keys = [stat.key for stat in store.list(folder)]
        for key in sorted(keys, key=lambda key: not key.endswith(INDEX)):
            store.delete(key)

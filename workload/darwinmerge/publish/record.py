"""`darwin.json`, the child's record: all that is needed to make it again and to check that it is what it claims."""

import platform
from collections.abc import Callable
from importlib import metadata

from darwinmerge import __version__
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Account, Mixing, Pins, Recipe
from darwinmerge.search.genome import Genome
from darwinmerge.store import layout

RecordFile = tuple[str, Callable[[dict[str, str]], bytes]]  # a file's name, and its content from the weights' SHA-256


class Record(Frozen):
    """What a child is made of; times and places stand in `darwin-run.json`."""

    format: int = 1
    father: dict[str, str]  # SHA-256 of each file of the parents
    mother: dict[str, str]
    pins: Pins
    genome: Genome
    mixing: Mixing
    table: str  # digest of the MRI table
    recipe: Recipe
    recipe_id: str  # SHA-256 of the recipe
    accounts: dict[Account, int]
    files: dict[str, str]  # SHA-256 of the child's weight files
    version: str  # of Darwin


Told = tuple[Genome, Mixing, str]  # what a recipe came from: genome, mixing, digest of the MRI table


def record_file(recipe: Recipe, parents: tuple[ModelFolder, ModelFolder], told: Told) -> RecordFile:
    """Name of the record's file, and its content once the SHA-256 of the weight files are known."""
    father, mother = parents
    genome, mixing, table = told

    def content(files: dict[str, str]) -> bytes:
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
            version=__version__,
        )
        return record.model_dump_json(by_alias=True, indent=1).encode()

    return layout.CHILD_RECORD, content


def versions() -> dict[str, str]:
    """Versions of what computed a child; they move none of its bits, so they are no part of the record."""
    found = {name: metadata.version(name) for name in ("numpy", "numba")}
    return {"darwinmerge": __version__, "python": platform.python_version(), **found}

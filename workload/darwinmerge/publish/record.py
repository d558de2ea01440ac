"""`darwin.json`, the child's record: all that is needed to make it again and to check that it is what it claims."""

import platform
from collections.abc import Callable
from importlib import metadata

from pydantic import Field

from darwinmerge import __version__
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.types import Frozen, first_mistake
from darwinmerge.merge.overrides import Override
from darwinmerge.merge.recipe import Account, Mixing, Pins, Recipe
from darwinmerge.search.genome import Genome
from darwinmerge.store import layout

RecordFile = tuple[str, Callable[[dict[str, str]], bytes]]  # a file's name, and its content from the weights' SHA-256


class Origin(Frozen):
    """What a recipe comes from, besides the parents."""

    genome: Genome
    mixing: Mixing
    table: str  # digest of the MRI table
    mri: Mri | None = None  # the settings it was made with; None: an older version didn't note them
    overrides: tuple[Override, ...] = ()  # by hand


class Record(Origin):
    """What a child is made of; times and places stand in `darwin-run.json`."""

    format: int = 1
    father: dict[str, str]  # SHA-256 of each file of the parents
    mother: dict[str, str]
    base: dict[str, str] = Field(default_factory=dict)  # of the base, where there is one
    pins: Pins
    recipe: Recipe
    recipe_id: str  # SHA-256 of the recipe
    accounts: dict[Account, int]
    files: dict[str, str]  # SHA-256 of the child's weight files
    version: str  # of Darwin


def record_file(recipe: Recipe, parents: tuple[ModelFolder, ...], origin: Origin) -> RecordFile:
    """Name of the record's file, and its content once the SHA-256 of the weight files are known.

    `parents`: Father, Mother and, where there is one, the base.
    """
    father, mother = parents[:2]
    base = parents[2] if len(parents) > 2 else None

    def content(files: dict[str, str]) -> bytes:
        record = Record(
            **dict(origin),
            father=father.file_digests,
            mother=mother.file_digests,
            base=base.file_digests if base else {},
            pins=Pins(father=father.pin, mother=mother.pin, base=base.pin if base else ""),
            recipe=recipe,
            recipe_id=recipe.id,
            accounts=recipe.accounts(),
            files=files,
            version=__version__,
        )
        return record.model_dump_json(by_alias=True, indent=1).encode()

    return layout.CHILD_RECORD, content


def record_of(child: ModelFolder) -> Record:
    """The record in a child's folder.

    Raises:
        BadInput: it has none, or none that can be read.
    """
    if layout.CHILD_RECORD not in child.files.sizes:
        raise BadInput(f"{child}: no {layout.CHILD_RECORD} in it; give a child that Darwin has made")
    try:
        record = Record.model_validate_json(child.read(layout.CHILD_RECORD))
        _ = record.recipe.id  # there is none where a number is NaN
    except ValueError as error:
        reason = first_mistake(error)
        raise BadInput(f"{child}/{layout.CHILD_RECORD}: this version can't read it: {reason}") from None
    return record


def versions() -> dict[str, str]:
    """Versions of what computed a child; they move none of its bits, so they are no part of the record."""
    found = {name: metadata.version(name) for name in ("numpy", "numba")}
    return {"darwinmerge": __version__, "python": platform.python_version(), **found}

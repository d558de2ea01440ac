"""`darwin.json`, the child's record: all that is needed to make it again and to check that it is what it claims."""

import platform
from importlib import metadata

from darwinmerge import __version__
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Account, Mixing, Pins, Recipe
from darwinmerge.search.genome import Genome


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
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Versions of what computed the child."""
    names = ("numpy", "numba")
    found = {name: metadata.version(name) for name in names}
    return {"darwinmerge": __version__, "python": platform.python_version(), **found}

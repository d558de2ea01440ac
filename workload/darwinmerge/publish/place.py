"""Which child stands where the manifest wants one, and whether it may be replaced.

Two of its files tell. `darwin-run.json` comes first and goes last: it says which files are a child's, and of which
experiment, and nothing else is ever replaced. `darwin.json` comes last and goes first: what has both, of one recipe,
is whole. In a folder they come and go at once, with the folder; in S3, which has no rename, one by one.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.types import Frozen
from darwinmerge.s3 import parse
from darwinmerge.store import S3Store, layout
from darwinmerge.uri import file_path

M = TypeVar("M", bound=BaseModel)


class Run(Frozen):
    """What `darwin-run.json` says of the files beside it."""

    model_config = ConfigDict(extra="ignore")  # it tells people more

    experiment: str
    store: str
    recipe: str
    files: frozenset[str]  # itself included


class _Record(Frozen):
    model_config = ConfigDict(extra="ignore")

    recipe_id: str


class Standing(Frozen):
    """What stands at an output."""

    output: str  # its URI
    names: frozenset[str] = frozenset()
    run: Run | None = None  # what it says of itself, if it does
    recipe: str = ""  # of its record

    @property
    def whole(self) -> str:
        """The recipe of the child that is whole there; empty where there is none."""
        return self.recipe if self.run and self.run.recipe == self.recipe and self.run.files <= self.names else ""


def standing(output: str) -> Standing:
    """Look at an output, which may not exist yet.

    Raises:
        BadConfiguration: it is a file, or can't be reached from here.
        StoreUnreachable: S3 doesn't answer.
    """
    folder = file_path(output)
    if folder is None:
        place = S3Store(*parse(output))
        return standing_of(output, frozenset(stat.key for stat in place.list("")), place.read)
    if not folder.exists():
        return Standing(output=output)
    if not folder.is_dir():
        raise BadConfiguration(f"spec.output.uri: {folder} is a file; choose another")
    return standing_of(
        output, frozenset(path.name for path in folder.iterdir()), lambda name: (folder / name).read_bytes()
    )


def require_free(found: Standing, experiment: str, store: str) -> None:
    """Refuse an output that holds anything but an earlier child of the experiment, or a part of it.

    Raises:
        BadConfiguration: naming what stands there.
    """
    run = found.run
    ours = run.files if run and (run.experiment, run.store) == (experiment, store) else frozenset()
    foreign = sorted(found.names - ours)
    if foreign:
        field = "spec.output.hub" if found.output.startswith("hf://") else "spec.output.uri"
        raise BadConfiguration(
            f"{field}: {found.output} holds what is not a child of this experiment "
            f"({', '.join(foreign[:3])}); move it away, or choose another place"
        )


def standing_of(output: str, names: frozenset[str], read: Callable[[str], bytes]) -> Standing:
    """What stands at an output that has files of these names, which `read` reads."""

    def told(name: str, model: type[M]) -> M | None:
        try:
            return model.model_validate_json(read(name)) if name in names else None
        except (OSError, KeyError, ValueError):  # what we didn't write, or what somebody removes just now
            return None

    record = told(layout.CHILD_RECORD, _Record)
    return Standing(
        output=output, names=names, run=told(layout.CHILD_RUN, Run), recipe=record.recipe_id if record else ""
    )

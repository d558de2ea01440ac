"""What `darwin mri`, `merge` and `health` share: two parents from the command line, and settings of the manifest."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

from darwinmerge.checkpoint.compatible import require_base, require_compatible
from darwinmerge.checkpoint.digests import of_user
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.pair import aligned, aligned_base
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.load import not_yaml, parse
from darwinmerge.experiment.manifest import Mri, Parent, Spec, Whole
from darwinmerge.mri.table import TensorRow, diagnose, names_of

T = TypeVar("T")

UNWRAPPED = 10_000  # columns: no line is as long

takes_settings = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A setting of the manifest's spec, such as mri.weight=0.5 or merge.oneSided=Keep; may be given many times.",
)


def settings(
    father: str,
    mother: str,
    assignments: Sequence[str],
    base: str | None = None,
    method: str | None = None,
    **more: Any,
) -> Spec:
    """A manifest's spec for two parents and a base, with `--method` and `--set` applied, checked like any manifest.

    Raises:
        BadConfiguration: naming every wrong setting.
    """
    spec: dict[str, Any] = {
        "parents": {"father": {"uri": father}, "mother": {"uri": mother}, **({"base": {"uri": base}} if base else {})},
        "evaluation": {"tasks": [{"name": "none"}]},
        "store": {"uri": "none"},
        **({"merge": {"method": method}} if method else {}),
        **more,
    }
    for assignment in assignments:
        path, found, value = assignment.partition("=")
        if not found or not path:
            raise BadConfiguration(f"--set {assignment}: write FIELD=VALUE, such as mri.weight=0.5")
        place = spec
        *parents, last = path.removeprefix("spec.").split(".")
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise BadConfiguration(f"--set {assignment}: {part} has no fields")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadConfiguration(f"--set {assignment}: not YAML: {not_yaml(error)}") from None
    document = {"apiVersion": "darwinmerge.io/v1alpha1", "kind": "DarwinMerge", "metadata": {"name": "by-hand"}}
    return parse(yaml.safe_dump(document | {"spec": spec}), "settings").spec


def open_base(base: Whole, parents: tuple[ModelFolder, ModelFolder]) -> ModelFolder:
    """The base of two parents that `open_pair` gave, checked to be one, its tensors by Father's names.

    Raises:
        BadInput: it is not a whole model, or not theirs.
    """
    folder = aligned_base(open_model(base.uri, of_user()), *parents)
    require_base(folder, *parents)
    return folder


def open_pair(father: Parent, mother: Parent, console: Console) -> tuple[ModelFolder, ModelFolder]:
    """Both parents, checked to belong together, their tensors by Father's names; warnings go to `console`.

    Raises:
        BadInput: one of them is not a whole model, or they don't belong together.
    """
    known = of_user()
    folders = open_model(father.uri, known, father.base), open_model(mother.uri, known, mother.base)
    for warning in require_compatible(*folders):
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    return aligned(*folders)


def diagnosed(parents: tuple[ModelFolder, ModelFolder], mri: Mri, console: Console) -> list[TensorRow]:
    """The MRI table, with a bar while it is made."""
    rows = diagnose(*parents, mri)
    return list(bar(rows, "diagnosing", len(names_of(*parents)), console))


def console(stderr: bool = False) -> Console:
    """A console; where it is no terminal nothing is wrapped, so that `grep` finds it.

    COLUMNS speaks for terminals only: any parent process with readline in it exports one, mostly 80.
    """
    plain = Console(stderr=stderr)
    return plain if plain.is_terminal else Console(stderr=stderr, width=UNWRAPPED)


def bar(things: Iterable[T], what: str, total: int, console: Console) -> Iterator[T]:
    """Things as they come, with a bar on a terminal."""
    return iter(track(things, what, total, console=console, transient=True, disable=not console.is_terminal))


@contextmanager
def writing(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes while something large is written; gives what tells it (done, of)."""
    columns = TextColumn("writing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("writing", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)

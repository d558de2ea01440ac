"""Publication as a task: the model card, and the folder where the manifest wants it."""

import contextlib
import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.errors import BadInput
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import PublishInputs, PublishSummary
from darwinmerge.publish.card import card
from darwinmerge.publish.export import read_record
from darwinmerge.publish.place import require_free
from darwinmerge.publish.record import versions
from darwinmerge.store import READ_SIZE, Ref, layout

CARD = "README.md"


def publish(inputs: PublishInputs, place: Place) -> tuple[PublishSummary, tuple[Ref, ...]]:
    """Write the card into the child's folder, and copy the folder to the output, if the manifest names one.

    Raises:
        BadInput: a weight file of the child is not what was exported.
        BadConfiguration: something else stands at the output.
    """
    folder = layout.child(inputs.recipe)
    record = read_record(place, inputs.recipe)
    text = card(inputs.title, record, inputs.verdict, inputs.health)
    layout.replace_view(place.store, folder + CARD, text.encode())
    names = {stat.key.removeprefix(folder) for stat in place.store.list(folder)} | {layout.CHILD_RUN}
    layout.replace_view(place.store, folder + layout.CHILD_RUN, _circumstances(inputs.title, sorted(names), place))
    if place.where.output:
        target = local_path(place.where.output)
        require_free(target, place.where.store)
        _copy(sorted(names), folder, target, record.files, place)
    return PublishSummary(recipe=inputs.recipe, files=len(names)), ()


def _circumstances(title: str, files: list[str], place: Place) -> bytes:
    """Times and places, apart from the record, which is the same wherever and whenever the child is made."""
    where = place.where
    told = {
        "experiment": title,
        "father": where.father,
        "mother": where.mother,
        "store": where.store,
        "output": where.output,
        "versions": versions(),
        "files": files,
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(told, indent=1).encode()


def _copy(names: list[str], folder: str, target: Path, expected: dict[str, str], place: Place) -> None:
    """Copy beside the target and rename, so that the target is never half a model."""
    partial, replaced = (target.with_name(f".{target.name}.{state}") for state in ("partial", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
    shutil.rmtree(replaced, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for done, name in enumerate(names, 1):
            sha = _copy_file(folder + name, partial / name, place)
            if expected.get(name, sha) != sha:
                raise BadInput(
                    f"store {place.store.uri}: {folder}{name} was changed after it was exported; "
                    "delete that folder and the results export-*, health-*, and run again"
                )
            place.step(done, len(names))
        with contextlib.suppress(FileNotFoundError):
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_file(key: str, path: Path, place: Place) -> str:
    sha, start = hashlib.sha256(), 0
    with path.open("wb") as file:
        while part := place.store.read(key, start, start + READ_SIZE):
            file.write(part)
            sha.update(part)
            start += len(part)
    return sha.hexdigest()

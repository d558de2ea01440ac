"""Publication as a task: the model card, and the folder where the manifest wants it."""

import contextlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import PublishInputs, PublishSummary
from darwinmerge.publish.card import card
from darwinmerge.publish.export import read_record
from darwinmerge.store import READ_SIZE, Ref, layout

CARD = "README.md"


def publish(inputs: PublishInputs, place: Place) -> tuple[PublishSummary, tuple[Ref, ...]]:
    """Write the card into the child's folder, and copy the folder to the output, if the manifest names one."""
    folder = layout.child(inputs.recipe)
    text = card(inputs.title, read_record(place, inputs.recipe), inputs.verdict, inputs.health)
    layout.replace_view(place.store, folder + CARD, text.encode())
    layout.replace_view(place.store, folder + layout.CHILD_RUN, _circumstances(inputs.title, place))
    keys = [stat.key for stat in place.store.list(folder)]
    if place.where.output:
        _copy(keys, folder, local_path(place.where.output), place)
    return PublishSummary(recipe=inputs.recipe, files=len(keys)), ()


def _circumstances(title: str, place: Place) -> bytes:
    """Times and places, apart from the record, which is the same wherever and whenever the child is made."""
    where = place.where
    told = {
        "experiment": title,
        "father": where.father,
        "mother": where.mother,
        "store": where.store,
        "output": where.output,
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(told, indent=1).encode()


def _copy(keys: list[str], folder: str, target: Path, place: Place) -> None:
    """Copy beside the target and rename, so that the target is never half a model."""
    if target.exists() and not (target / layout.CHILD_RECORD).exists() and any(target.iterdir()):
        raise BadConfiguration(
            f"spec.output.uri: {target} exists and holds something else than a child; empty it or choose another"
        )
    partial = target.with_name(target.name + f".partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for done, key in enumerate(keys, 1):
            with (partial / key.removeprefix(folder)).open("wb") as file:
                start = 0
                while part := place.store.read(key, start, start + READ_SIZE):
                    file.write(part)
                    start += len(part)
            place.tell(done, len(keys))
            place.pause()
        replaced = target.with_name(target.name + f".replaced-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

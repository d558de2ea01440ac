"""Publication as a task: the model card, and the folder or prefix where the manifest wants the child."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from darwinmerge.evaluation.answers import read_answers
from darwinmerge.evaluation.rows import RowSets
from darwinmerge.experiment.experiment import SIDES
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import PublishSummary
from darwinmerge.pipeline.tasks import PublishInputs
from darwinmerge.publish.card import card
from darwinmerge.publish.card_head import Findings
from darwinmerge.publish.copy import Files, to_folder, to_s3
from darwinmerge.publish.export import read_record
from darwinmerge.publish.licences import require_shareable
from darwinmerge.publish.lineage import CARD, ancestor
from darwinmerge.publish.place import Run, require_free, standing
from darwinmerge.publish.record import Record, versions
from darwinmerge.publish.upload import to_hub
from darwinmerge.store import Ref, Stat, fetch_json, fetch_known, layout, stored_ref
from darwinmerge.uri import file_path


def publish(inputs: PublishInputs, place: Place) -> tuple[PublishSummary, tuple[Ref, ...]]:
    """Write the card into the child's folder, and copy the folder to the output and the hub that the manifest names.

    Raises:
        BadInput: a weight file of the child is not what was exported.
        BadConfiguration: something else stands there, or a licence forbids the upload.
    """
    if inputs.hub:
        require_shareable(place)
    folder = layout.child(inputs.recipe)
    record = read_record(place, inputs.recipe)
    text = card(_findings(inputs, record, place))
    place.store.replace(folder + CARD, text.encode())
    names = {stat.key.removeprefix(folder) for stat in place.store.list(folder)} | {layout.CHILD_RUN}
    told = _circumstances(inputs, sorted(names), place)
    place.store.replace(folder + layout.CHILD_RUN, told)
    hub = ""
    if inputs.destination or inputs.hub:
        files = {stat.key.removeprefix(folder): _ref(stat, record, folder, place) for stat in place.store.list(folder)}
        if inputs.destination:
            _to_output(files, inputs.title, told, place)
        if inputs.hub and place.where.hub:
            hub = to_hub(files, json.loads(told), place.where.hub, place)
    return PublishSummary(recipe=inputs.recipe, files=len(names), hub=hub, withheld=inputs.withheld), ()


def _to_output(files: Files, title: str, told: bytes, place: Place) -> None:
    found = standing(place.where.output)
    require_free(found, title, place.where.store)
    target = file_path(place.where.output)
    if target:
        to_folder(files, target, place)
    else:
        to_s3(files, Run.model_validate_json(told), found, place)


def _findings(inputs: PublishInputs, record: Record, place: Place) -> Findings:
    found, base = place.origins(), place.base()
    father, mother = (ancestor(found[who], folder) for who, folder in zip(SIDES, place.parents(), strict=True))
    return Findings(
        inputs=inputs,
        record=record,
        parents=(father, mother),
        base=ancestor(found["base"], base) if base else None,
        rows=fetch_known(place.store, layout.rows(inputs.rows), RowSets, inputs.rows),
        answers={name: read_answers(place.store, found) for name, found in inputs.scores.items()},
        datasets=dict(_datasets(inputs.recipe, place)),
    )


def _datasets(recipe: str, place: Place) -> Iterator[tuple[str, tuple[str, str]]]:
    """Tasks, and path and name of the data set of each, as the child's results in lm-eval's own files tell."""
    for stat in place.store.list(layout.harness(recipe, "results_")):
        for task, config in fetch_json(place.store, stat.key)["configs"].items():
            yield task, (str(config.get("dataset_path") or ""), str(config.get("dataset_name") or ""))


def _ref(stat: Stat, record: Record, folder: str, place: Place) -> Ref:
    """A file of the child as it must be: weights as they were exported, all else as it stands in the store."""
    sha256 = record.files.get(stat.key.removeprefix(folder))
    return Ref(key=stat.key, sha256=sha256, size=stat.size) if sha256 else stored_ref(place.store, stat.key)


def _circumstances(inputs: PublishInputs, files: list[str], place: Place) -> bytes:
    """Times and places, apart from the record, which is the same wherever and whenever the child is made."""
    where = place.where
    told = {
        "experiment": inputs.title,
        "recipe": inputs.recipe,
        **place.origins(),
        "store": where.store,
        "output": where.output,
        "versions": versions(),
        "files": files,
        "published": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(told, indent=1).encode()

"""Phase 3 as a task: it reads the child as it was written, not as it was meant."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from darwinmerge.canonical import digest, rounded
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadInput
from darwinmerge.experiment.manifest import Health, Mri
from darwinmerge.health.compare import Activations, Distances, HealthTable, compare
from darwinmerge.health.distance import distances
from darwinmerge.mri.figures import measure
from darwinmerge.mri.table import TensorRow
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import HealthSummary
from darwinmerge.pipeline.tasks import HealthInputs
from darwinmerge.store import Ref, layout

if TYPE_CHECKING:
    from darwinmerge.health.activations import Prepared

NO_TORCH = Activations(unseen="torch isn't installed: pip install 'darwinmerge[torch,eval]'")
SHOWN = 16  # flagged layers in the summary; all of them are in the table


def health(inputs: HealthInputs, place: Place) -> tuple[HealthSummary, tuple[Ref, ...]]:
    """Measure every tensor of the exported child, and compare it with its parents.

    Raises:
        BadInput: the child's files are not those that were exported.
    """
    child = open_model(f"{place.store.uri}/{layout.child(inputs.recipe)}".rstrip("/"))
    weights = {name: sha for name, sha in child.file_digests.items() if name.endswith(".safetensors")}
    if digest(weights) != inputs.weights:
        raise BadInput(f"{child}: its weights were changed after they were exported; delete it and run again")

    parents = place.pinned(inputs.pins)
    table = examine(child, parents, place.table(inputs.table), inputs.mri, inputs.health, place.step)
    name = digest(table)
    flagged = [f"{layer.layer}: {layer.flag}" for layer in table.layers if layer.flag]
    summary = HealthSummary(table=name, status=table.status, layers=len(table.layers), flagged=tuple(flagged[:SHOWN]))
    return summary, (place.leave(layout.health(name), table.model_dump_json(indent=1).encode()),)


def examine(
    child: ModelFolder,
    parents: tuple[ModelFolder, ModelFolder],
    rows: Sequence[TensorRow],
    mri: Mri,
    settings: Health,
    tell: Callable[[int, int], None],
) -> HealthTable:
    """The health table of a child in a folder, given its parents and their MRI table.

    Raises:
        BadInput: the child lacks tensors of its parents.
    """
    missing = [row.name for row in rows if row.name not in child.tensors]
    if missing:
        raise BadInput(f"{child}: not a child of these parents: it lacks {', '.join(missing[:5])}")
    prepared = _prepared(child, *parents)
    total = len(rows) + (prepared.steps if prepared else 0)
    figures, lie = {}, {}
    for done, row in enumerate(rows, 1):
        figures[row.name] = measure(child.elements(row.name), mri, child.files.threads)
        found = distances(row.name, child, *parents) if not figures[row.name].non_finite else None
        if found:
            lie[row.name] = Distances(child=rounded(found.child), mother=rounded(found.mother))
        tell(done, total)
    seen = prepared.observe(lambda done: tell(len(rows) + done, total)) if prepared else NO_TORCH
    return compare(rows, figures, lie, mri.score, settings, seen)


def _prepared(*family: ModelFolder) -> "Prepared | None":
    """What runs child, Father and Mother; None where there is no torch to run anything."""
    try:
        from darwinmerge.health.activations import Prepared
    except ModuleNotFoundError:
        return None
    return Prepared(*family)

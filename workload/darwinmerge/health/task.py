"""Phase 3 as a task: it reads the child as it was written, not as it was meant."""

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.folder import open_model
from darwinmerge.errors import BadInput
from darwinmerge.health.compare import compare
from darwinmerge.mri.figures import measure
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import HealthInputs, HealthSummary
from darwinmerge.store import Ref, layout

SHOWN = 16  # flagged layers in the summary; all of them are in the table


def health(inputs: HealthInputs, place: Place) -> tuple[HealthSummary, tuple[Ref, ...]]:
    """Measure every tensor of the exported child, and compare it with its parents.

    Raises:
        BadInput: the child's files are not those that were exported.
    """
    child = open_model(f"{place.store.uri}/{layout.child(inputs.recipe)}".rstrip("/"))
    weights = {name: sha for name, sha in child.file_digests.items() if name.endswith(".safetensors")}
    if digest(weights) != inputs.weights:
        raise BadInput(
            f"{child.path}: its weights were changed after they were exported; delete the folder and run again"
        )
    figures = {}
    for name in child.tensors:
        figures[name] = measure(child.bits(name), child.info(name).dtype, inputs.mri)
        place.tell(len(figures), len(child.tensors))
        place.pause()
    missing = [row.name for row in place.table(inputs.table) if row.name not in figures]
    if missing:
        raise BadInput(f"{child.path}: tensors are missing from it: {', '.join(missing[:5])}; delete it and run again")
    table = compare(place.table(inputs.table), figures, inputs.mri.score, inputs.health)
    name = digest(table)
    flagged = [f"{layer.layer}: {layer.flag}" for layer in table.layers if layer.flag]
    summary = HealthSummary(table=name, status=table.status, layers=len(table.layers), flagged=tuple(flagged[:SHOWN]))
    return summary, (place.leave(layout.health(name), table.model_dump_json(indent=1).encode()),)

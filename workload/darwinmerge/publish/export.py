"""The winner, written to the store as a Hugging Face folder; a repeated export goes on after the last file."""

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.folder import INDEX
from darwinmerge.experiment.fields import parse_size
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import ExportSummary
from darwinmerge.pipeline.tasks import ExportInputs
from darwinmerge.publish.record import Origin, Record, record_file
from darwinmerge.publish.write import write_child
from darwinmerge.store import Ref, fetch_model, layout, stored_ref


def export(inputs: ExportInputs, seed: int, place: Place) -> tuple[ExportSummary, tuple[Ref, ...]]:
    """Write the child of a genome, and say what was written."""
    recipe = place.child(inputs.genome, inputs.table, inputs.pins, inputs.mixing, seed)
    folder = layout.child(recipe.id)
    parents, limit = place.sources(inputs.pins), parse_size(inputs.max_shard_size)
    mri = inputs.mri.model_copy(update={"weight": inputs.mixing.mri_weight})
    origin = Origin(genome=inputs.genome, mixing=inputs.mixing, table=inputs.table, mri=mri)
    record = record_file(recipe, parents, origin)
    files, total = write_child(place.store, folder, recipe, parents, limit, place.step, record)
    summary = ExportSummary(
        recipe=recipe.id,
        weights=digest(files),
        files=len(files),
        bytes=total,
        accounts=recipe.accounts(),
    )
    return summary, (stored_ref(place.store, folder + INDEX),)


def read_record(place: Place, recipe: str) -> Record:
    """The record of an exported child."""
    return fetch_model(place.store, layout.child(recipe) + layout.CHILD_RECORD, Record)

"""The winner, written to the store as a Hugging Face folder, file by file; a repeated export goes on after the last."""

import json

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.folder import INDEX
from darwinmerge.experiment.manifest import parse_size
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import ExportInputs, ExportSummary
from darwinmerge.publish.record import Record, versions
from darwinmerge.publish.shards import content, file_name, index, source_info, split
from darwinmerge.store import Ref, layout, stored_ref


def export(inputs: ExportInputs, seed: int, place: Place) -> tuple[ExportSummary, tuple[Ref, ...]]:
    """Write weights, Father's config and tokenizer, the record, and the index last."""
    father, mother = place.pinned(inputs.pins)
    recipe = place.child(inputs.genome, inputs.table, inputs.pins, inputs.mixing, seed)
    folder = layout.child(recipe.id)
    shards = split(recipe, father, mother, parse_size(inputs.max_shard_size))
    refs = []
    for number, shard in enumerate(shards, 1):
        key = folder + file_name(number, len(shards))
        if place.store.head(key):
            refs.append(stored_ref(place.store, key))
        else:
            refs.append(place.store.put_shard(key, content(shard, recipe, father, mother)))
        place.tell(number, len(shards))
        place.pause()
    total = sum(source_info(d, father, mother).nbytes for d in recipe.decisions)
    files = {ref.key.removeprefix(folder): ref.sha256 for ref in refs}
    record = Record(
        father=father.file_digests,
        mother=mother.file_digests,
        pins=inputs.pins,
        genome=inputs.genome,
        mixing=inputs.mixing,
        table=inputs.table,
        recipe=recipe,
        recipe_id=recipe.id,
        accounts=recipe.accounts(),
        files=files,
        versions=versions(),
    )
    for path in father.side_files():
        place.leave(folder + path.name, path.read_bytes())
    place.leave(folder + layout.CHILD_RECORD, record.model_dump_json(by_alias=True, indent=1).encode())
    last = place.leave(folder + INDEX, index(shards, total))
    summary = ExportSummary(
        recipe=recipe.id, weights=digest(files), files=len(files), bytes=total, accounts=recipe.accounts()
    )
    return summary, (last,)


def read_record(place: Place, recipe: str) -> Record:
    """The record of an exported child."""
    return Record.model_validate(json.loads(place.fetch(layout.child(recipe) + layout.CHILD_RECORD)))

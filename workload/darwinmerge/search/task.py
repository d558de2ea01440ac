"""Phase 1 as a task: it reads the MRI table, which a driver has no means to read."""

from darwinmerge.canonical import digest_lines
from darwinmerge.mri.table import to_parquet
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import SearchSummary
from darwinmerge.pipeline.tasks import SearchInputs
from darwinmerge.search.phase1 import elites, evolve, genes_of
from darwinmerge.store import Ref, layout


def search(inputs: SearchInputs, seed: int, place: Place) -> tuple[SearchSummary, tuple[Ref, ...]]:
    """Evolve genomes on the heuristic; leave the whole history, report the elites."""
    rows = place.table(inputs.table)
    active = genes_of(rows, inputs.mixing)
    history = evolve(rows, inputs.mixing, inputs.search, seed, place.tell)
    digest = digest_lines(history)
    summary = SearchSummary(
        history=digest,
        fitness=max(row.fitness for row in history),
        restarts=history[-1].start,
        active=active,
        elites=tuple(genome.values() for genome in elites(history, active, inputs.search)),
    )
    return summary, (place.leave(layout.table(digest), to_parquet(history)),)

"""What tests ask of a planned run: its tasks' ids, what is known of its candidates; and genomes for a wide one."""

from darwinmerge.experiment.searching import MAX_CANDIDATES
from darwinmerge.pipeline.results import ScoreSummary, TaskId
from darwinmerge.search.genome import Genome
from tests.unit.plan_world import Part, Run

WIDE = [Genome.of([round(0.100001 + i / 1000 + gene / 10, 6) for gene in range(6)]) for i in range(MAX_CANDIDATES)]


def ids(found: Run, *parts: Part) -> set[TaskId]:
    return {task.id for task in found.asked_for(*parts)}


def candidates_of(found: Run) -> list[ScoreSummary]:
    """What is known of each candidate that has a score."""
    results = [result for generation in found.walk.generations for result in generation.results]
    return [result for result in results if isinstance(result, ScoreSummary)]

"""What is known of an experiment, stage by stage: as much as its results say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import (
    Candidate,
    Done,
    ExportSummary,
    HealthSummary,
    MriSummary,
    PublishSummary,
    Rejected,
    ResolveSummary,
    Result,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
    Superseded,
    TaskId,
    VerdictSummary,
)
from darwinmerge.pipeline.tasks import Task
from darwinmerge.search.genome import Genome
from darwinmerge.search.phase2 import Scores

Results = Mapping[TaskId, Result]


class Outcome(Frozen):
    """How an experiment ended."""

    kind: Literal["Complete", "Failed"]
    reason: str  # Complete: the verdict's label; Failed: a reason in CamelCase
    message: str = ""


@dataclass(frozen=True)
class Generation:
    """One generation of children, as far as it is known."""

    number: int
    tasks: tuple[Task, ...]
    genomes: tuple[Genome, ...]
    results: tuple[ScoreSummary | Rejected | None, ...]

    @property
    def scores(self) -> Scores | None:
        """Scores in order, None for a rejected candidate; None as long as one is missing."""
        if any(result is None for result in self.results):
            return None
        return tuple(r.score if isinstance(r, ScoreSummary) else None for r in self.results)


@dataclass
class Walk:
    """All that an experiment's results say, stage by stage, and the tasks that are ready."""

    ready: list[Task] = field(default_factory=list)
    outcome: Outcome | None = None
    resolved: ResolveSummary | None = None
    rows: RowsSummary | None = None
    mri: MriSummary | None = None
    search: SearchSummary | None = None
    parents: dict[str, ScoreSummary] = field(default_factory=dict)  # father, mother, linear on search rows
    generations: list[Generation] = field(default_factory=list)
    finalists: dict[int, ScoreSummary] = field(default_factory=dict)  # place among finalists -> search and fresh rows
    winner: ScoreSummary | None = None
    export: ExportSummary | None = None
    health: HealthSummary | None = None
    verdicts: dict[str, ScoreSummary] = field(default_factory=dict)  # child, father, mother, linear on verdict rows
    verdict: VerdictSummary | None = None
    published: PublishSummary | None = None

    @property
    def tied(self) -> int:
        """How many others have the winner's own score on all rows that it was chosen on: an order decided then."""
        scores = [summary.score for summary in self.finalists.values() or ranked(self.generations)]
        return max(scores.count(max(scores, default=0.0)) - 1, 0)


def ranked(generations: Sequence[Generation]) -> list[ScoreSummary]:
    """Scored candidates, best first, one a recipe; of equal scores the earlier comes first."""
    found = [r for g in generations for r in g.results if isinstance(r, ScoreSummary)]
    best: dict[str, ScoreSummary] = {}
    for summary in sorted(found, key=lambda s: -s.score):
        best.setdefault(summary.recipe, summary)
    return list(best.values())


def recorded_genomes(results: Results) -> dict[int, tuple[Genome, ...]]:
    """Genomes of generations that results vouch for, so that no past generation is computed again."""
    superseded = [result for result in results.values() if isinstance(result, Superseded)]
    adopted = {r.generation: tuple(Genome.of(genes) for genes in r.genomes) for r in superseded}
    members: dict[int, dict[int, Candidate]] = {}
    for result in results.values():
        candidate = None
        if isinstance(result, Rejected):
            candidate = result.candidate
        elif isinstance(result, Done) and isinstance(result.summary, ScoreSummary):
            candidate = result.summary.candidate
        if candidate:
            members.setdefault(candidate.generation, {})[candidate.index] = candidate
    for number, found in members.items():
        if number not in adopted and len(found) == next(iter(found.values())).of:
            adopted[number] = tuple(found[index].genome for index in sorted(found))
    return adopted

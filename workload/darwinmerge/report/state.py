"""A run as it is now, whatever it is at: what `darwin ls` and `darwin show` tell of it.

Nothing but small objects of its store is read, and no parent need be in reach. A store can't tell whether somebody
works on it at this moment; when it last got a result is what it can tell.
"""

from collections.abc import Sequence
from typing import Literal

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Outcome, Walk, ranked
from darwinmerge.pipeline.progress import Progress, progress_of
from darwinmerge.pipeline.results import Candidate, Rejected, ScoreSummary, VerdictSummary
from darwinmerge.pipeline.tasks import candidate_of
from darwinmerge.pipeline.worker import Cost
from darwinmerge.store import Store, fetch_each, fetch_model, layout
from darwinmerge.uri import claim_of, file_path


class Scored(Frozen):
    """A candidate that was benchmarked, or that couldn't be."""

    candidate: Candidate
    recipe: str = ""
    """Digest of its recipe; nothing where it was rejected."""
    score: float | None = None
    """Weighted mean on search rows."""
    rejected: str = ""
    """Why it has no score."""


class State(Frozen):
    """A run as it is."""

    name: str
    store: str
    state: Literal["Unfinished", "Complete", "Failed"]
    outcome: Outcome | None
    progress: Progress
    candidates: tuple[Scored, ...]
    """Candidates with a result, in the order of generations."""
    best: Scored | None
    """The best candidate on search rows; once the finalists were scored again, the winner."""
    verdict: VerdictSummary | None
    child: str
    """Where the child lies; nothing where none is written yet."""
    updated: float | None
    """When the last result came, in seconds since 1970."""


def state_of(experiment: Experiment, seen: Walk, store: str, costs: Sequence[Cost] = ()) -> State:
    """The state of a run that has been walked over, whose store is at `store`; pure."""
    candidates = _candidates(seen)
    best = seen.winner or next(iter(ranked(seen.generations)), None)
    return State(
        name=experiment.name,
        store=store,
        state=seen.outcome.kind if seen.outcome else "Unfinished",
        outcome=seen.outcome,
        progress=progress_of(experiment, seen),
        candidates=candidates,
        best=next((scored for scored in candidates if best and scored.recipe == best.recipe), None),
        verdict=seen.verdict,
        child=child_place(experiment, seen, store),
        updated=max((cost.finished for cost in costs), default=None),
    )


def _candidates(seen: Walk) -> tuple[Scored, ...]:
    found = []
    for generation in seen.generations:
        for task, result in zip(generation.tasks, generation.results, strict=True):
            candidate = candidate_of(task.inputs)
            if isinstance(result, ScoreSummary) and candidate:
                found.append(Scored(candidate=candidate, recipe=result.recipe, score=result.score))
            elif isinstance(result, Rejected) and candidate:
                found.append(Scored(candidate=candidate, rejected=f"{result.reason}: {result.message}"))
    return tuple(found)


def child_place(experiment: Experiment, seen: Walk, store: str) -> str:
    """Where the child lies: where it was published, else in the store; nothing where none is written yet."""
    if not seen.export:
        return ""
    inside = f"{store}/{layout.child(seen.export.recipe)}".rstrip("/")
    out = seen.published is not None and not seen.published.withheld
    place = experiment.where.output if out and experiment.where.output else inside
    if claim_of(place):  # which may be mounted elsewhere for others, and need not be here
        return place
    return str(file_path(place) or place)


def costs_of(store: Store) -> list[Cost]:
    """What each finished task cost.

    Raises:
        BadInput: one of them is damaged.
    """
    return list(fetch_each(store, layout.COSTS, lambda key: fetch_model(store, key, Cost)))

"""What /metrics tells of a run: figures that a look at it leaves behind, and the samples that they become; pure.

Counters are sums over what the ledger knows, so they go on where they were when the operator is started again. What
only time changes (how long a Job has been waiting) is kept as a moment, and becomes seconds when it is asked for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from pydantic import Field

from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Walk
from darwinmerge.pipeline.results import ScoreSummary
from darwinmerge_operator import view
from darwinmerge_operator.decision import Decision, Seen
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.seen import SeenJob, seconds
from darwinmerge_operator.status import Status, Versus

Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, its labels' values as `metric.RUN` lists them, and the value."""

HELD = ("Suspended", "Queued", "Pending", "Stalled")  # phases in which nothing is done
ENDED = ("Complete", "Failed")
PHASES = (*dict.fromkeys(("Starting", *view.PHASES.values(), "Evolving")), *HELD, *ENDED)


class Told(Frozen):
    """What only the ledger knows of a run."""

    fitness: dict[str, float] = Field(default_factory=dict)  # of the last finished generation, by statistic
    scored: int = 0
    rejected: int = 0
    spread: float | None = None  # of the MRI's prescriptions
    gpu_seconds: dict[str, float] = Field(default_factory=dict)  # by stage
    progressed_at: float = 0.0  # seconds since 1970; 0: never


class Figures(Frozen):
    """A run as it was when it was last looked at."""

    about: tuple[str, str, str]  # Father's and Mother's place, and the algorithm
    steps: int
    candidates: int  # in all
    created: float
    status: Status
    told: Told
    jobs: dict[tuple[str, str], int]  # by stage and state
    waits_since: float | None = None  # the Job that has waited longest for a running Pod
    ends_at: float | None = None  # when it may be done


def told_of(ledger: Ledger, walked: Walk) -> Told:
    """What a ledger tells, and the walk over its results."""
    results = [result for generation in walked.generations for result in generation.results if result is not None]
    scored = sum(isinstance(result, ScoreSummary) for result in results)
    finished = [g.scores for g in walked.generations if g.scores is not None]
    return Told(
        fitness=_statistics([score for score in finished[-1] if score is not None]) if finished else {},
        scored=scored,
        rejected=len(results) - scored,
        spread=walked.mri.spread if walked.mri else None,
        gpu_seconds=ledger.gpu_seconds,
        progressed_at=ledger.progressed_at,
    )


def figures_of(found: Mapping[str, Any], seen: Seen, decision: Decision, status: Status, told: Told) -> Figures:
    """The figures of a look at a run.

    Args:
        found: the resource.
        seen: what was seen of it.
        decision: what was done about it; Jobs that it removes aren't counted.
        status: what was said of it.
        told: what the ledger tells.
    """
    x = seen.experiment
    there = [job for job in seen.jobs if job.name not in decision.remove and not job.leaving]
    return Figures(
        about=(x.where.father, x.where.mother, x.spec.evolution.algorithm),
        steps=x.spec.evolution.steps,
        candidates=x.spec.evolution.steps * x.spec.evolution.candidates,
        created=seconds(found["metadata"]["creationTimestamp"]) or 0.0,
        status=status,
        told=told,
        jobs=dict(Counter((job.stage, _state(job)) for job in there)),
        waits_since=min((job.waiting_since for job in there if _state(job) in ("queued", "pending")), default=None),
        ends_at=_ends_at(status, decision.ledger, seen.now),
    )


def samples(figures: Figures, now: float) -> Iterator[Sample]:
    """The samples of a run at a time, in seconds since 1970; their labels besides its namespace and name."""
    status, told = figures.status, figures.told

    def one(name: str, value: float | None, *labels: str) -> Iterator[Sample]:
        if value is not None:
            yield f"darwin_merge_{name}", labels, float(value)

    yield from one("info", 1, *figures.about)
    for phase in PHASES:
        yield from one("phase", phase == status.phase, phase)
    for condition in status.conditions:
        yield from one("condition", 1, condition.type, condition.status, condition.reason)
    yield from one("created_timestamp_seconds", figures.created)
    yield from one("generation", status.progress.step if status.progress else 0)
    yield from one("generations", figures.steps)
    for statistic, value in told.fitness.items():
        yield from one("fitness", value, statistic)
    yield from one("best_fitness", status.best.score if status.best else None)
    for parent, score in status.parents or ():
        yield from one("parent_fitness", score, parent)
    for against, versus in status.verdict or ():
        if isinstance(versus, Versus):
            for statistic in ("difference", "low", "high", "p"):
                yield from one("verdict", getattr(versus, statistic), against.removeprefix("vs_"), statistic)
    yield from one("candidates_total", told.scored, "scored")
    yield from one("candidates_total", told.rejected, "rejected")
    yield from one("candidates_wanted", figures.candidates)
    for (stage, state), count in figures.jobs.items():
        yield from one("jobs", count, stage, state)
    for stage, value in told.gpu_seconds.items():
        yield from one("gpu_seconds_total", value, stage)
    yield from one("pending_seconds", max(0.0, now - figures.waits_since) if figures.waits_since is not None else 0.0)
    yield from one("last_progress_timestamp_seconds", told.progressed_at or figures.created)
    yield from one("eta_timestamp_seconds", figures.ends_at)
    yield from one("mri_ratio_spread", told.spread)


def _statistics(scores: Sequence[float]) -> dict[str, float]:
    if not scores:
        return {}  # all of it was rejected
    best = max(scores)
    return {"best": best, "mean": fmean(scores), "median": median(scores), "min": min(scores), "max": best}


def _ends_at(status: Status, ledger: Ledger, now: float) -> float | None:
    """Where the status shows it: not of a run that has ended, or stands still."""
    if not status.shown or not status.shown.eta or not status.progress:
        return None
    return view.ends_at(status.progress, ledger.active_seconds, now)


def _state(job: SeenJob) -> str:
    if job.finished:
        return "succeeded" if job.complete else "failed"
    return "queued" if job.suspended else "running" if job.runs else "pending"

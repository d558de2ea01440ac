"""Whether a task whose attempt failed is tried again: a pure function of the attempts.

An attempt that failed is never a score: out of memory, a full disk, a preempted machine say nothing about a
child, and a search that took them for its fault would be steered by crashes.
"""

from collections.abc import Sequence

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Limits
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import Done, ReportSummary, TaskId
from darwinmerge.pipeline.tasks import Task

MAX_SECONDS = 60.0  # between two attempts
FINAL = frozenset({ExitCode.BAD_CONFIGURATION, ExitCode.BAD_INPUT, ExitCode.VERSION_SKEW})


class Attempt(Frozen):
    """One try at a task that ended without a result."""

    task: TaskId
    number: int  # from 1
    exit: ExitCode
    message: str = ""


class Again(Frozen):
    """Try again after a while."""

    seconds: float


class GiveUp(Frozen):
    """A person must act; the run can then go on from where it stands."""

    reason: str
    message: str


def retry(limits: Limits, attempts: Sequence[Attempt]) -> Again | GiveUp:
    """What follows the attempts at one task, in order, the last one first to be judged."""
    last = attempts[-1]
    if last.exit in FINAL:
        return GiveUp(reason=_camel(last.exit), message=last.message)
    if last.exit == ExitCode.INTERRUPTED:
        interruptions = sum(attempt.exit == ExitCode.INTERRUPTED for attempt in attempts)
        if interruptions >= limits.interruptions:
            message = f"interrupted {interruptions} times; the last time: {last.message}"
            return GiveUp(reason="TooManyInterruptions", message=message)
        return Again(seconds=_pause(limits, interruptions - 1))
    failures = [attempt for attempt in attempts if attempt.exit != ExitCode.INTERRUPTED]
    if len(failures) >= limits.attempts:
        return GiveUp(reason=_camel(last.exit), message=f"{last.message} ({len(failures)} attempts)")
    return Again(seconds=_pause(limits, len(failures)))


def without_report(task: Task, why: str) -> Done | None:
    """The result of a report that can't be drawn, whatever the cause: no run stops for it. None for any other task."""
    return Done(task=task.id, summary=ReportSummary(problem=why)) if task.stage == "report" else None


def _camel(code: ExitCode) -> str:
    return code.name.title().replace("_", "")


def _pause(limits: Limits, count: int) -> float:
    """Seconds, doubled for each further one of `count` that have failed; 0 for none."""
    return min(MAX_SECONDS, limits.retry_seconds * 2.0 ** min(count - 1, 30)) if count else 0.0

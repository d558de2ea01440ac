"""A run's story as Kubernetes events: what has changed between the status that stands and the one that will; pure.

Nothing is remembered of what was told. An event's name follows from what happened, so that what is told again, after
a crash between telling and writing the status or by a second operator, is a name that is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from darwinmerge.canonical import digest
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Generation
from darwinmerge_operator.decision import Decision, Seen
from darwinmerge_operator.known import beside_parents
from darwinmerge_operator.status import ServedReason, Status, SuspendedReason
from darwinmerge_operator.view import condition, holds, time_of

COMPONENT = "darwin-operator"
MESSAGE_LETTERS = 1024

Reason = (
    Literal[
        "Accepted",
        "MRICompleted",
        "GenerationCompleted",
        "NewBest",
        "CandidateRejected",
        "Stalled",
        "Completed",
        "Failed",
        "Served",
        "ServingRefused",
        "ServingWithheld",
    ]
    | SuspendedReason
)
SERVED: Mapping[ServedReason, Reason] = {
    "Applied": "Served",
    "Refused": "ServingRefused",
    "Withheld": "ServingWithheld",
}
WARNINGS: frozenset[Reason] = frozenset({"CandidateRejected", "Stalled", "Failed", "ServingRefused"})


class Event(Frozen):
    """Something that happened to a run."""

    reason: Reason
    message: str
    mark: str = ""  # tells it from an event of the same words


def events_of(before: Status | None, now: Status, seen: Seen, decision: Decision) -> tuple[Event, ...]:
    """What is to be told: few events, however much has happened since the status `before`."""
    held = condition(before, "Suspended")
    mark = f"{now.observed_generation} {now.last_handled_retry_at} {held.last_transition_time if held else ''}"
    return tuple(
        Event(reason=reason, message=message, mark=mark) for reason, message in _told(before, now, seen, decision)
    )


def manifest(event: Event, run: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The core/v1 Event about a run, which is as the API server gave it."""
    metadata = run["metadata"]
    name = digest([metadata["uid"], event.reason, event.message, event.mark])[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{name}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": run["apiVersion"],
            "kind": run["kind"],
            **{key: metadata[key] for key in ("namespace", "name", "uid")},
        },
        "type": "Warning" if event.reason in WARNINGS else "Normal",
        "reason": event.reason,
        "message": event.message[:MESSAGE_LETTERS],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time_of(now),
        "lastTimestamp": time_of(now),
        "count": 1,
    }


def _told(before: Status | None, now: Status, seen: Seen, decision: Decision) -> Iterator[tuple[Reason, str]]:
    if not holds(before, "Accepted") and (accepted := condition(now, "Accepted")):
        yield "Accepted", accepted.message
    yield from _held(before, now)
    if not condition(before, "MRIInformative") and (mri := condition(now, "MRIInformative")):
        yield "MRICompleted", f"{mri.reason}: {mri.message}"
    yield from _rejected(before, now)
    yield from _generation(before, now, seen, decision)
    stalled, known = condition(now, "Stalled"), condition(before, "Stalled")
    if stalled and not (known and known.reason == stalled.reason):  # its words may count what comes and goes
        yield "Stalled", f"{stalled.reason}: {stalled.message}"
    if (complete := condition(now, "Complete")) and not condition(before, "Complete"):
        yield "Completed", f"{complete.reason}: {complete.message}"
    if (failed := condition(now, "Failed")) and not condition(before, "Failed"):
        yield "Failed", f"{failed.reason}: {failed.message}"
    yield from _served(before, now)


def served(before: Status, now: Status) -> tuple[Event, ...]:
    """What is to be told of a run that had ended before."""
    mark = str(now.observed_generation)
    return tuple(Event(reason=reason, message=message, mark=mark) for reason, message in _served(before, now))


def _served(before: Status | None, now: Status) -> Iterator[tuple[Reason, str]]:
    """Each time that its manifest has changed, and where something else came of it."""
    new, old = condition(now, "Served"), condition(before, "Served")
    if not new or (old and (old.reason, old.observed_generation) == (new.reason, new.observed_generation)):
        return
    yield SERVED[cast(ServedReason, new.reason)], new.message


def _held(before: Status | None, now: Status) -> Iterator[tuple[Reason, str]]:
    new, old = condition(now, "Suspended"), condition(before, "Suspended")
    if not new or (old and old.reason == new.reason):
        return
    yield cast(SuspendedReason, new.reason), new.message


def _rejected(before: Status | None, now: Status) -> Iterator[tuple[Reason, str]]:
    """Those that are new among the recent ones; at the first look, the last one."""
    found = [one for one in now.recent if one.rejected]
    known = before.progress.rejected if before and before.progress else None
    new = 1 if known is None else max(0, (now.progress.rejected if now.progress else 0) - known)
    for one in reversed(found[:new]):
        yield "CandidateRejected", f"generation {one.generation}, candidate {one.index + 1}: {one.rejected}"


def _generation(before: Status | None, now: Status, seen: Seen, decision: Decision) -> Iterator[tuple[Reason, str]]:
    """The last generation that is finished, if it wasn't before, and what it found: with candidates that come one by
    one, an event for each would be a fifth write a candidate. Each starts when the one before it has finished.
    """
    known = before.progress.candidates if before and before.progress else 0
    if not now.progress or now.progress.candidates <= known:
        return
    finished = [g for g in decision.walk_of(seen.experiment).generations if g.scores is not None]
    if sum(len(g.tasks) for g in finished) <= known:
        return
    best, earlier = _best(finished[-1:]), _best(finished[-2:-1])
    what = "every candidate was rejected" if best is None else f"best {_score(best, now)}"
    if best is not None and earlier is not None:
        what += f", {best - earlier:+z.3f} over the generation before"
    yield "GenerationCompleted", f"generation {finished[-1].number}/{now.progress.steps}: {what}"
    before_it = _best(finished[:-1])
    if now.best and best is not None and (before_it is None or best > before_it):
        place = f"generation {now.best.generation}, candidate {now.best.index + 1}"
        yield "NewBest", f"{place}: {_score(now.best.score, now)}"


def _best(generations: Sequence[Generation]) -> float | None:
    return max((score for g in generations for score in g.scores or () if score is not None), default=None)


def _score(score: float, now: Status) -> str:
    gain = beside_parents(score, now.parents)
    return f"{score:.3f}" + (f", {gain} over the better parent" if gain else "")

"""What is shown of a run: its status, made anew at every look from what is remembered and observed; pure.

Of the status before only this is kept: when a condition turned, that a run was once held, and, as long as a lost ledger
is rebuilt from the store, what was known: a run doesn't go back because a cache was lost.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from darwinmerge_operator.crd import pruned
from darwinmerge_operator.decision import Decision, Seen
from darwinmerge_operator.known import TOLD, Said, What, known
from darwinmerge_operator.seen import SeenJob
from darwinmerge_operator.status import REASONS, Condition, ConditionType, Progress, Shown, Status
from darwinmerge_operator.waits import REFUSED_SECONDS

ETA_SECONDS = 300  # it isn't known more exactly, and would change at every look
STARTED = "its first Job was created"
RETRY_LETTERS = 256  # of a person's own annotation; the schema takes no more
PHASES = {  # by what is being done, as `darwinmerge.pipeline.progress` calls it; all else is evolution
    "resolving parents and rows": "Resolving",
    "model MRI": "MRI",
    "finalists": "Finals",
    "verdict": "Verdict",
    "health check": "Publishing",
    "publishing": "Publishing",
    "report": "Publishing",
    "finished": "Publishing",  # its summary
}


def read(found: Mapping[str, Any] | None) -> Status | None:
    """The status that stands in a resource, without what only a newer operator knows; None where there is none."""
    told = pruned(found or {}, Status)
    try:
        return Status.model_validate(told) if told else None
    except ValidationError as error:
        places = (problem["loc"] for problem in error.errors())
        strange = {place[: 2 if place[0] == "conditions" else 1] for place in places}
    kept = {name: part for name, part in told.items() if (name,) not in strange}
    if "conditions" in kept:
        kept["conditions"] = [one for n, one in enumerate(kept["conditions"]) if ("conditions", n) not in strange]
    return Status.model_validate(kept) if kept else None


def condition(status: Status | None, kind: ConditionType) -> Condition | None:
    """A condition of a status, if it stands there."""
    return next((one for one in status.conditions if one.type == kind), None) if status else None


def holds(status: Status | None, kind: ConditionType) -> bool:
    """Whether a condition stands there, and is true."""
    found = condition(status, kind)
    return found is not None and found.status == "True"


def status_of(seen: Seen, decision: Decision, before: Status | None, served: What | None = None) -> Status:
    """The status of a run.

    Args:
        seen: the run as it was found.
        decision: what is done about it.
        before: the status that stands there.
        served: of a run that has ended, whether the child is served, if it is to be.
    """
    ledger = decision.ledger
    finished = bool(decision.outcome) or holds(before, "Complete") or holds(before, "Failed")
    found, progress, said = known(seen.experiment, ledger.results, decision.walk_of(seen.experiment), finished)
    if ledger.recalling and before and before.progress and progress.questions <= before.progress.questions:
        found, progress = before, before.progress
        said = {kind: what for kind, what in _said(before).items() if kind in TOLD}
    said |= _of_jobs(seen, decision, before)
    if stands := served or (None if decision.outcome else _said(before or Status()).get("Served")):
        said["Served"] = stands  # until another child takes its place
    shown = found.shown or Shown()
    held = any(kind in said and said[kind][0] == "True" for kind in ("Complete", "Failed", "Stalled", "Suspended"))
    still = held or bool(decision.pending)
    seconds = ledger.active_seconds
    return found.model_copy(
        update={
            "observed_generation": seen.generation,
            "phase": _phase(said, progress.stage, bool(decision.pending)),
            "conditions": _conditions(said, seen.generation, before, seen.now),
            "shown": shown.model_copy(update={"eta": "" if still else _eta(progress, seconds, seen.now)}),
            "image": seen.policy.image or ledger.image,
            "active_seconds": int(seconds),
            "last_handled_retry_at": ledger.retried_at[:RETRY_LETTERS],
        }
    )


def refused(generation: int, message: str, before: Status | None, now: float) -> Status:
    """The status of a resource that the API server took, and this version of the operator can't; the rest stays."""
    stands = before or Status()
    said: Said = {kind: what for kind, what in _said(stands).items() if kind in (*TOLD, "Suspended", "Served")}
    said |= {
        "Accepted": ("False", "Invalid", message),
        "Ready": ("False", "Invalid", "it isn't accepted"),
        "Stalled": ("True", "BadConfiguration", message),  # else whoever waits for it, waits for ever
    }
    return stands.model_copy(
        update={
            "observed_generation": generation,
            "phase": _phase(said, ""),
            "conditions": _conditions(said, generation, before, now),
            "shown": (stands.shown or Shown()).model_copy(update={"eta": ""}),
        }
    )


def with_served(before: Status, served: What, now: float) -> Status:
    """The status of a run that had ended before its child was served."""
    said: Said = {**_said(before), "Served": served}
    return before.model_copy(update={"conditions": _conditions(said, before.observed_generation, before, now)})


def in_queue(jobs: Sequence[SeenJob]) -> SeenJob | None:
    """The oldest Job that Kueue holds, where it holds all that aren't finished."""
    live = [job for job in jobs if not job.finished]
    return live[0] if live and all(job.suspended for job in live) else None


def differs(before: Status | None, now: Status) -> bool:
    """Whether a status is worth writing: whether more has changed than time."""
    return before is None or _timeless(before) != _timeless(now)


def time_of(now: float) -> str:
    """Seconds since 1970 as an API server writes them."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _timeless(status: Status) -> Status:
    shown = status.shown and status.shown.model_copy(update={"eta": ""})
    return status.model_copy(update={"shown": shown, "active_seconds": 0})


def _of_jobs(seen: Seen, decision: Decision, before: Status | None) -> Said:
    """What is said of how the run is carried out."""
    evolution, ledger = seen.experiment.spec.evolution, decision.ledger
    said: Said = {"Accepted": ("True", "Valid", f"steps: {evolution.steps}, candidates: {evolution.candidates} each")}
    held = _held(seen, decision, before)
    if held:
        said["Suspended"] = ("True", *held)
    elif condition(before, "Suspended"):
        said["Suspended"] = ("False", "Resumed", "it goes on")
    halts = sorted(decision.halts, key=lambda halt: not halt.final)
    if halts:
        said["Stalled"] = ("True", halts[0].reason, halts[0].message)
    if seen.jobs or ledger.results or ledger.tries or holds(before, "Ready"):
        said["Ready"] = ("True", "Started", _started(decision, before))
    else:
        said["Ready"] = ("False", "Starting", "no Job of it has been created yet")
        if not halts and not held:
            said["Reconciling"] = ("True", "Starting", "its first Job is about to be created")
    return said


def _held(seen: Seen, decision: Decision, before: Status | None) -> tuple[str, str] | None:
    """Who holds a run back, if anybody does: a person, or Kueue.

    It admits most Jobs in no time, and the next one soon after another has ended, neither of which is told. What is
    told stands until a Job is let go, even where Jobs are made anew meanwhile.
    """
    if decision.outcome:
        return None
    if seen.policy.suspend:
        return "Suspended", "spec.cluster.suspend is true; what is done is kept"
    job = in_queue(seen.jobs)
    told = condition(before, "Suspended")
    stands = told is not None and (told.status, told.reason) == ("True", "Queued")
    if job is None or job.queue == "" or not (stands or seen.now - _moved(seen.jobs) >= REFUSED_SECONDS):
        return None
    return "Queued", job.queue or "its Jobs wait for quota in spec.cluster.queueName"


def _started(decision: Decision, before: Status | None) -> str:
    """That it works, or waits for a node: the scheduler's words of the moment that began, since its counts move on."""
    message = "; ".join(filter(None, (STARTED, decision.pending)))
    told = condition(before, "Ready")
    same = told is not None and told.message.partition(": ")[0] == message.partition(": ")[0]
    return told.message if told and same else message


def _moved(jobs: Sequence[SeenJob]) -> float:
    """When a Job last came, or a Pod went."""
    return max(time for job in jobs for time in (job.created, *(pod.finished_at or 0.0 for pod in job.pods)))


def _phase(said: Said, stage: str, pending: bool = False) -> str:
    for kind in ("Complete", "Failed", "Stalled"):
        if kind in said:
            return kind
    held, reason, _ = said.get("Suspended", ("False", "", ""))
    if held == "True":
        return reason
    if pending:
        return "Pending"
    return PHASES.get(stage, "Evolving") if said["Ready"][0] == "True" else "Starting"


def ends_at(progress: Progress, seconds: float, now: float) -> float | None:
    """When it may be done, since 1970: the questions that are left take as long as those that were asked."""
    left = progress.questions_total - progress.questions
    if not progress.questions or left <= 0 or not seconds:
        return None
    return math.ceil((now + seconds * left / progress.questions) / ETA_SECONDS) * ETA_SECONDS


def _eta(progress: Progress, seconds: float, now: float) -> str:
    """The same in words, in UTC."""
    end = ends_at(progress, seconds, now)
    if end is None:
        return ""
    then, today = (datetime.fromtimestamp(when, UTC) for when in (end, now))
    return f"{then:%H:%MZ}" if then.date() == today.date() else f"{then:%m-%d %H:%MZ}"


def _said(status: Status) -> Said:
    return {one.type: (one.status, one.reason, one.message) for one in status.conditions}


def _conditions(said: Said, generation: int, before: Status | None, now: float) -> tuple[Condition, ...]:
    """Conditions in the order of their list; the time of one is kept as long as its status is."""
    found = []
    for kind in REASONS:
        if kind not in said:
            continue
        status, reason, message = said[kind]
        old = condition(before, kind)
        since = old.last_transition_time if old and old.status == status else time_of(now)
        found.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return tuple(found)

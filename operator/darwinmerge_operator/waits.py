"""Until when to wait, and what may have to wait for a person."""

from collections.abc import Sequence

from darwinmerge_operator.decision import Halt, Seen
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.seen import SeenJob

REFUSED_SECONDS = 10.0  # for which a Job may be without a Pod before a person is told
PENDING_SECONDS = 20.0  # for which a Pod may have no node, image or Secret before that is told
NODE_SECONDS = 600.0  # for which a Pod may have no node before a person must act: a cluster that scales makes one first
MAX_DISRUPTIONS = 20  # of one task
TURN_SECONDS = 3.0  # after a Job in a queue has ended, before the next one is put into it; times are of whole seconds


def late_for(ledger: Ledger, seen: Seen, waits: list[float]) -> Halt | None:
    """Why a run has had its time; None: it has some left, or needs no more than there is."""
    if seen.policy.active_deadline is None:
        return None
    used = ledger.active_seconds
    left = seen.policy.active_deadline - used
    if left <= 0:
        return Halt(
            reason="DeadlineExceeded",
            message=f"Pods of this run have been running for {used:.0f} s, and spec.cluster.activeDeadlineSeconds is "
            f"{seen.policy.active_deadline:.0f}; raise it, and the run goes on",
            final=True,
        )
    if any(job.runs for job in seen.jobs):
        waits.append(left)
    return None


def resting_of(seen: Seen, waits: list[float]) -> list[SeenJob]:
    """Jobs of a queue that have just ended: they keep their places for a moment, and others get theirs.

    Kueue (0.17) looks again at Jobs that it has put aside for want of quota a second after some was given back. A Job
    that comes within that second goes before all of them, so that a quick run would keep a GPU to itself.
    """
    if not seen.policy.queued:
        return []
    found = []
    for job in seen.jobs:
        ended = job.completed_at if job.complete else seen.now  # what a Pod told is known before its Job is complete
        if job.told and not job.leaving and seen.now - ended < TURN_SECONDS:
            waits.append(ended + TURN_SECONDS - seen.now)
            found.append(job)
    return found


def halts_of(seen: Seen, active: Sequence[SeenJob], waits: list[float]) -> list[Halt]:
    """Why Jobs that are there don't get on; of no interest where others do, since they may wait for just those."""
    found = []
    runs = any(job.runs for job in active)
    limit = seen.policy.pending_deadline
    for job in active:
        waited = seen.now - job.waiting_since
        told = PENDING_SECONDS if job.pods else REFUSED_SECONDS
        patience = (limit or NODE_SECONDS) if job.unscheduled else told
        waits += [moment - waited for moment in {told, patience, limit or told} if waited < moment]
        if job.suspended or runs:
            continue
        why = _why(job)
        if limit is not None and waited >= limit:
            found.append(Halt(reason="PendingDeadlineExceeded", message=f"{job.name}: {why or 'no Pod of it runs'}"))
        elif why and waited >= patience:
            reason = "PodRefused" if job.refused else "PodPending"
            found.append(Halt(reason=reason, message=f"{job.name}: {why}"))
    return found


def pending_of(active: Sequence[SeenJob], now: float) -> str:
    """The first Job that waits for a node, where none gets on, and why; a moment is the scheduler's, and isn't told."""
    late = [job for job in active if job.unscheduled and not job.suspended]
    late = [job for job in late if now - job.waiting_since >= PENDING_SECONDS]
    if not late or any(job.runs for job in active):
        return ""
    return f"{late[0].name} waits for a node: {_why(late[0])}"


def _why(job: SeenJob) -> str:
    """Why it doesn't run, in the API's words."""
    return job.refused or next((pod.waits for pod in reversed(job.pods) if pod.waits), "")


def expired(jobs: Sequence[SeenJob], ttl: float | None, now: float, waits: list[float]) -> list[SeenJob]:
    """Jobs of a finished run whose time is over; to `waits` goes the time that is left to others."""
    gone = []
    for job in jobs:
        if job.leaving or not job.finished:
            continue
        ended = max([pod.finished_at for pod in job.pods if pod.finished_at] or [job.created])
        left = None if ttl is None else ended + ttl - now
        if left is not None and left <= 0:
            gone.append(job)
        elif left is not None:
            waits.append(left)
    return gone

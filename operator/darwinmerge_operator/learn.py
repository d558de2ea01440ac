"""What a run's Jobs have to tell that its ledger doesn't know yet; pure."""

from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.tasks import Result, TaskId
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.ledger import Ledger, Try
from darwinmerge_operator.seen import SeenJob


def learn(ledger: Ledger, jobs: tuple[SeenJob, ...], now: float) -> Ledger:
    """The ledger with all that the Jobs show: results, ends without one, lost pods, time with a pod running."""
    results, merged, missed = dict(ledger.results), set(ledger.merged), set(ledger.missed)
    for job in jobs:
        for pod in job.pods:
            _hear(job, pod.ending, results, merged, missed)
    running = any(pod.running_since and not pod.ending for job in jobs for pod in job.pods)
    since = ledger.active_since
    found = ledger.model_copy(
        update={
            "results": results,
            "merged": tuple(sorted(merged)),
            "missed": tuple(sorted(missed)),
            "pods": _pods(ledger, jobs),
            "active_since": (since or now) if running else None,
            "active_seconds": ledger.active_seconds + (now - since if since and not running else 0.0),
        }
    )
    for job in jobs:
        failed = _failure(job, now)
        if failed:
            found = found.having(job.key, failed)
    return found


def _pods(ledger: Ledger, jobs: tuple[SeenJob, ...]) -> dict[str, tuple[str, ...]]:
    """Every Pod that was ever seen of an attempt: most are gone when the next one comes."""
    seen = {f"{job.key}/{job.attempt}": {pod.uid for pod in job.pods} for job in jobs}
    worn = {attempt for attempt, pods in ledger.pods.items() if len(pods) > 1}
    return {
        attempt: tuple(sorted(seen.get(attempt, set()) | {*ledger.pods.get(attempt, ())}))
        for attempt in sorted(worn | {attempt for attempt, pods in seen.items() if pods})
    }


def _hear(
    job: SeenJob, ending: Ending | None, results: dict[TaskId, Result], merged: set[TaskId], missed: set[TaskId]
) -> None:
    """What a pod's message says, of the orders before a failure too."""
    message = ending.message if ending else None
    if not ending or not message:
        return
    for result in message.results:
        results.setdefault(result.task, result)
    told = job.tasks[: message.told]
    if job.part == "recall":
        missed |= {task for task in told if task not in results}
    elif job.part == "merge":
        merged |= set(told)


def _failure(job: SeenJob, now: float) -> Try | None:
    """The attempt that a Job was, if it ended without what it was for, or its node is lost."""

    def attempt(code: ExitCode, message: str) -> Try:
        return Try(number=job.attempt, exit=code, message=message, at=now)

    endings = [pod.ending for pod in job.pods if pod.ending]
    if job.complete:
        if job.done:
            return None
        return attempt(ExitCode.INTERNAL, endings[-1].text if endings else "its Pod is gone, and its message with it")
    if job.failed:
        if not endings:
            return attempt(ExitCode.INTERNAL, "the Job failed, and its Pod is gone")
        return attempt(endings[-1].exit, endings[-1].text)
    if any(pod.lost for pod in job.pods):
        return attempt(ExitCode.INTERRUPTED, "its node doesn't answer; another Pod is started")
    return None

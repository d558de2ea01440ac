"""What a run's Jobs have to tell that its ledger doesn't know yet; pure."""

from collections.abc import Mapping

from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.ledger import Ledger, Try, key_of
from darwinmerge_operator.seen import SeenJob


def learn(ledger: Ledger, jobs: tuple[SeenJob, ...], now: float) -> Ledger:
    """The ledger with all that the Jobs show: results, ends without one, lost pods, time with a pod running."""
    results, merged, missed = dict(ledger.results), set(ledger.merged), set(ledger.missed)
    for job in jobs:
        for pod in job.pods:
            _hear(job, pod.ending, results, merged, missed)
    found = ledger.model_copy(
        update={
            "results": results,
            "merged": tuple(sorted(merged)),
            "missed": tuple(sorted(missed)),
            "disrupted": _disrupted(ledger, jobs, results),
            "active_seconds": ledger.active_seconds + _active(ledger.active_until, jobs, now),
            "active_until": now,
            "gpu_seconds": _gpu_seconds(ledger, jobs, now),
            "progressed_at": now if len(results) > len(ledger.results) else ledger.progressed_at,
        }
    )
    for job in jobs:
        failed = _failure(job, now)
        if failed:
            found = found.having(_blamed(job, results), failed, job.keys)
    return found


def _blamed(job: SeenJob, results: Mapping[TaskId, Result]) -> str:
    """Of a Job's tasks without a result, the key of the one whose attempt has failed: at which a worker of it says
    that it did, else the first, since they are done in order."""
    left = [task for task in job.tasks if task not in results]
    if job.part != "all" or not left:
        return job.key
    messages = [pod.ending.message for pod in job.pods if pod.ending]
    said = {message.failed.task for message in messages if message and message.failed}
    return key_of(next((task for task in left if task in said), left[0]), job.part)


def _active(since: float, jobs: tuple[SeenJob, ...], now: float) -> float:
    """Seconds from `since` to `now` in which at least one Pod ran."""
    pods = [pod for job in jobs for pod in job.pods if pod.running_since]
    ran = sorted((pod.running_since or 0.0, pod.finished_at or now) for pod in pods)
    total, until = 0.0, since
    for start, end in ran:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _gpu_seconds(ledger: Ledger, jobs: tuple[SeenJob, ...], now: float) -> dict[str, float]:
    """By stage that has run, for which its Pods have held GPUs, times their number; 0 where they hold none."""
    found = dict(ledger.gpu_seconds)
    for job in jobs:
        for pod in job.pods:
            if pod.running_since:
                held = (pod.finished_at or now) - max(pod.running_since, ledger.active_until)
                found[job.stage] = found.get(job.stage, 0.0) + pod.gpus * max(0.0, held)
    return found


def _disrupted(
    ledger: Ledger, jobs: tuple[SeenJob, ...], results: Mapping[TaskId, Result]
) -> dict[str, tuple[str, ...]]:
    """Pods that were taken away from Jobs that are to go on, by what they were at: they are gone soon.

    Not those of a Job that its queue has taken the quota from: that is what a queue is for, and it gives it back. Nor
    those that no node has taken: their Jobs have failed.
    """
    found = {key: {*pods} for key, pods in ledger.disrupted.items()}
    for job in jobs:
        known = {uid for key in job.keys for uid in found.get(key, ())}
        for pod in job.pods:
            ending = pod.ending
            stopped = ending and ending.exit == ExitCode.INTERRUPTED and ending.reason != "NotAdmitted"
            if pod.uid not in known and not job.leaving and not pod.preempted and (pod.leaving or stopped):
                found.setdefault(_blamed(job, results), set()).add(pod.uid)
    return {key: tuple(sorted(pods)) for key, pods in found.items()}


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
        told = not job.tasks or any(ending.message and ending.message.told for ending in endings)
        if job.done and told:
            return None
        return attempt(ExitCode.INTERNAL, endings[-1].text if endings else "its Pod is gone, and its message with it")
    if job.failed:
        if not endings:
            return attempt(ExitCode.INTERNAL, "the Job failed, and its Pod is gone")
        return attempt(endings[-1].exit, endings[-1].text)
    if any(pod.lost for pod in job.pods):
        return attempt(ExitCode.INTERRUPTED, "its node doesn't answer; another Pod is started")
    return None

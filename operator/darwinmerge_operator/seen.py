"""What the cluster shows of a run's Jobs and Pods, read out of what the API server says; pure.

Only what a decision needs: how Pods ended, and in the API's own words why one doesn't start.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import TaskId
from darwinmerge_operator.cluster_spec import is_gpu
from darwinmerge_operator.ending import Ending, ending, worker_state
from darwinmerge_operator.job import CONTAINER, LABEL
from darwinmerge_operator.ledger import key_of

STUCK_SECONDS = 60.0  # beyond a Pod's grace period, after which its node is taken for lost
_FATAL_WAITS = {  # why a container waits, where waiting longer mends nothing
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


class SeenPod(Frozen):
    """One Pod of a Job."""

    name: str
    uid: str  # its first 8 digits
    ending: Ending | None = None  # None: it hasn't ended
    running_since: float | None = None  # seconds since 1970
    finished_at: float | None = None
    waits: str = ""  # why it doesn't run, in the API's words
    unscheduled: bool = False  # it waits for a node, which its cluster may be about to make
    gpus: int = 0  # that it holds while it runs
    leaving: bool = False  # deleted, not gone yet
    preempted: bool = False  # of a Job whose quota was taken back since: nobody's fault, however often
    lost: bool = False  # terminating for longer than it may: its node doesn't answer


class SeenJob(Frozen):
    """One Job of a run."""

    name: str
    uid: str = ""
    task: str  # the first 16 digits of its first task's id
    part: str  # of the task; or `recall`, `finish`
    stage: str = ""  # what it is called
    tasks: tuple[TaskId, ...] = ()  # of its orders
    attempt: int
    created: float
    waiting_since: float  # for a Pod, or for its newest one to run; a queue's wait not counted
    complete: bool = False
    completed_at: float = 0.0
    failed: bool = False
    suspended: bool = False  # by Kueue: it waits for quota
    queue: str | None = None  # what Kueue says of that; empty: it is about to let it go; None: it wasn't asked
    leaving: bool = False  # deleted, not gone yet
    pods: tuple[SeenPod, ...] = ()
    refused: str = ""  # why the controller couldn't create its Pod

    @property
    def finished(self) -> bool:
        """Nothing more will come of it."""
        return self.complete or self.failed

    @property
    def told(self) -> bool:
        """A Pod of it ended as it should."""
        return any(pod.ending and pod.ending.reason == "Done" for pod in self.pods)

    @property
    def done(self) -> bool:
        """It ended as it should."""
        return self.complete and self.told

    @property
    def runs(self) -> bool:
        """A Pod of it runs."""
        return any(pod.running_since and not pod.ending for pod in self.pods)

    @property
    def unscheduled(self) -> bool:
        """Its newest Pod waits for a node."""
        return bool(self.pods) and self.pods[-1].unscheduled

    @property
    def hangs(self) -> bool:
        """It should run, and doesn't."""
        return not (self.finished or self.suspended or self.runs)

    @property
    def key(self) -> str:
        """What it is known by: `ledger.key_of` of its first task."""
        return f"{self.task}/{self.part}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What attempts at its tasks are counted by, the first one's first."""
        return tuple(key_of(task, self.part) for task in self.tasks) or (self.key,)


def seconds(text: str | None) -> float | None:
    """Seconds since 1970 of an API time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def seen_jobs(
    jobs: Sequence[Mapping[str, Any]],
    pods: Sequence[Mapping[str, Any]],
    warnings: Mapping[str, str],
    now: float,
) -> tuple[SeenJob, ...]:
    """All Jobs of a run with their Pods, the oldest first; `warnings` are events' messages by name."""
    of: dict[str, list[Mapping[str, Any]]] = {}
    for pod in pods:
        of.setdefault(pod["metadata"]["labels"].get("batch.kubernetes.io/controller-uid", ""), []).append(pod)
    found = [_job(job, of.get(job["metadata"]["uid"], []), warnings, now) for job in jobs]
    return tuple(sorted(found, key=lambda job: (job.created, job.name)))


def words_of(workloads: Sequence[Mapping[str, Any]]) -> str | None:
    """What Kueue says of a Job that it holds, from its Workload; empty once it has admitted it, None without any."""
    said = {c["type"]: c for workload in workloads for c in workload.get("status", {}).get("conditions") or ()}
    true = {kind for kind, condition in said.items() if condition["status"] == "True"}
    if "Evicted" in true and "QuotaReserved" in true:  # it is just taking the quota back
        return str(said["Evicted"].get("message", "")) or None
    if "Admitted" in true:
        return ""
    return str(said.get("QuotaReserved", {}).get("message", "")) or None


def _job(job: Mapping[str, Any], pods: list[Mapping[str, Any]], warnings: Mapping[str, str], now: float) -> SeenJob:
    metadata, labels, status = job["metadata"], job["metadata"]["labels"], job.get("status", {})
    conditions = {c["type"]: c["status"] == "True" for c in status.get("conditions") or []}
    created = _created(job)
    suspended = bool(job["spec"].get("suspend"))
    started = seconds(status.get("startTime")) or 0.0  # which is set anew when a queue lets it go
    since = [created, started, *(_created(pod) for pod in pods)]
    return SeenJob(
        name=metadata["name"],
        uid=metadata["uid"],
        task=labels[f"{LABEL}/task"],
        part=labels[f"{LABEL}/part"],
        stage=labels.get(f"{LABEL}/stage", ""),
        tasks=tasks_of(job["spec"]["template"]["spec"]),
        attempt=int(labels[f"{LABEL}/attempt"]),
        created=created,
        waiting_since=max(since),
        complete=conditions.get("Complete", False),
        completed_at=seconds(status.get("completionTime")) or 0.0,
        failed=conditions.get("Failed", False),
        suspended=suspended,
        leaving=bool(metadata.get("deletionTimestamp")),
        pods=tuple(
            _pod(pod, suspended or _created(pod) < started, warnings, now) for pod in sorted(pods, key=_created)
        ),
        refused="" if pods else warnings.get(metadata["name"], ""),
    )


def tasks_of(pod: Mapping[str, Any]) -> tuple[TaskId, ...]:
    """The tasks that a Pod of this spec does, in order."""
    containers = {one["name"]: one for one in pod["containers"]}
    variables = {v["name"]: v.get("value", "") for v in containers[CONTAINER]["env"]}
    orders = json.loads(variables["DARWIN_ORDERS"].replace("$$", "$"))
    return tuple(order["id"] for order in orders["orders"])


def _created(of: Mapping[str, Any]) -> float:
    return seconds(of["metadata"]["creationTimestamp"]) or 0.0


def _pod(pod: Mapping[str, Any], preempted: bool, warnings: Mapping[str, str], now: float) -> SeenPod:
    metadata, status = pod["metadata"], pod.get("status", {})
    state = worker_state(pod)
    ended, deleted = state.get("terminated") or {}, seconds(metadata.get("deletionTimestamp"))
    running = (state.get("running") or {}).get("startedAt") or ended.get("startedAt")
    # the API sets the time of deletion to the end of the grace period
    lost = deleted is not None and not ended and now > deleted + STUCK_SECONDS
    return SeenPod(
        name=metadata["name"],
        uid=metadata["uid"][:8],
        ending=ending(pod),
        running_since=seconds(running),
        finished_at=seconds(ended.get("finishedAt")),
        waits="" if running else _waits(status, state.get("waiting") or {}) or warnings.get(metadata["name"], ""),
        unscheduled=bool(_scheduling(status)),
        gpus=_gpus(pod),
        leaving=deleted is not None,
        preempted=preempted,
        lost=lost,
    )


def _gpus(pod: Mapping[str, Any]) -> int:
    """Whole GPUs, or slices of them, that a Pod asks for."""
    limits = [one.get("resources", {}).get("limits") or {} for one in pod.get("spec", {}).get("containers") or ()]
    asked = [(name, str(count)) for one in limits for name, count in one.items() if is_gpu(name)]
    return sum(int(count) for _, count in asked if count.isdigit())


def _waits(status: Mapping[str, Any], waiting: Mapping[str, Any]) -> str:
    if waiting.get("reason") in _FATAL_WAITS:
        return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return _scheduling(status)


def _scheduling(status: Mapping[str, Any]) -> str:
    """Why a Pod has no node, in the scheduler's words; empty: it has one, or wasn't looked at yet."""
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}".rstrip(": ")
    return ""

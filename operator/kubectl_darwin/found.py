"""What is found of a run: the one value that every command tells of, made of what the API server says; pure but `find`.

A person may be allowed less than the operator: what can't be read is left out, and the API server's words are kept.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Walk
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import ScoreSummary
from darwinmerge.pipeline.tasks import Task
from darwinmerge.report.lines import title
from darwinmerge.report.state import State, state_of
from darwinmerge_operator.api import Object
from darwinmerge_operator.crd import pruned
from darwinmerge_operator.ledger import Ledger, from_data, ledger_name
from darwinmerge_operator.resource import DarwinMerge, Spec, from_api
from darwinmerge_operator.seen import SeenJob, seconds, seen_jobs
from darwinmerge_operator.status import Status
from darwinmerge_operator.view import read
from kubectl_darwin.cluster import Cluster

T = TypeVar("T")


class Point(Frozen):
    """One generation's scores on search rows."""

    generation: int
    best: float | None
    """None where no candidate has a score, or none yet."""
    mean: float | None
    scored: int
    rejected: int


class Working(Frozen):
    """A Pod of a run, or a Job that has none."""

    what: str
    """What it is for, in words."""
    stage: str
    name: str
    """The Pod's; the Job's where it has no Pod."""
    node: str
    state: str
    """In one word; or why it doesn't run, in the API server's words."""
    since: float
    """Seconds since 1970."""


class Told(Frozen):
    """An event."""

    at: str
    reason: str
    message: str


class Found(Frozen):
    """A run, as it is found in a cluster."""

    namespace: str
    name: str
    created: str
    suspend: bool
    status: Status
    state: State | None = None
    """What the ledger says, as `darwin show --json` has it; none where there is no ledger, or it can't be read."""
    fitness: tuple[Point, ...] = ()
    working: tuple[Working, ...] = ()
    events: tuple[Told, ...] = ()
    missing: tuple[str, ...] = ()
    """What couldn't be read, and why."""


def resource_of(run: Mapping[str, Any]) -> DarwinMerge:
    """A run's resource, as this version reads it.

    Raises:
        BadConfiguration: it can't.
    """
    return from_api({**run, "spec": pruned(run["spec"], Spec)})


def ledger_of(cluster: Cluster, run: Mapping[str, Any]) -> Ledger | None:
    """What the operator remembers of a run; None where there is nothing yet, or nothing that this version can read."""
    metadata = run["metadata"]
    return from_data((cluster.ledger(metadata["namespace"], ledger_name(metadata["name"])) or {}).get("binaryData"))


def remembered(cluster: Cluster, run: Mapping[str, Any]) -> tuple[DarwinMerge, Ledger, State]:
    """A run's resource, its ledger, and the state that its results lead to; for commands that can't do without.

    Raises:
        BadConfiguration: nothing is known of it yet.
    """
    resource, ledger, name = resource_of(run), ledger_of(cluster, run), run["metadata"]["name"]
    if ledger is None:
        raise BadConfiguration(
            f"{name} has no ledger (ConfigMap {ledger_name(name)}) yet: no operator has begun with it, or it is being "
            f"rebuilt from the store; kubectl darwin status {name} tells more"
        )
    x = resource.experiment()
    return resource, ledger, state_of(x, walk(x, ledger.results), x.where.store)


def find(cluster: Cluster, run: Object) -> Found:
    """All that the cluster has to say of a run."""
    metadata, missing = run["metadata"], list[str]()
    namespace, name = metadata["namespace"], metadata["name"]

    def allowed(ask: Callable[[], T], without: T) -> T:
        try:
            return ask()
        except BadConfiguration as error:
            missing.append(str(error))
            return without

    ledger = allowed(lambda: ledger_of(cluster, run), None)
    nothing: list[Object] = []
    jobs = allowed(lambda: cluster.jobs(namespace, name), nothing)
    pods = allowed(lambda: cluster.pods(namespace, name), nothing)
    events = allowed(lambda: cluster.events(run), nothing)
    warnings: Mapping[str, str] = allowed(lambda: cluster.warnings(namespace), {}) if jobs else {}
    x = allowed(lambda: resource_of(run).experiment(), None)
    seen = seen_jobs(jobs, pods, warnings, time.time())
    return told(run, x, ledger, seen, pods, events).model_copy(update={"missing": tuple(missing)})


def told(
    run: Mapping[str, Any],
    x: Experiment | None,
    ledger: Ledger | None,
    jobs: Sequence[SeenJob] = (),
    pods: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
) -> Found:
    """What all of this says of a run."""
    known = walk(x, ledger.results) if x and ledger else None
    return Found(
        namespace=run["metadata"]["namespace"],
        name=run["metadata"]["name"],
        created=run["metadata"]["creationTimestamp"],
        suspend=bool(run["spec"].get("cluster", {}).get("suspend")),
        status=read(run.get("status")) or Status(),
        state=state_of(x, walk(x, ledger.results), x.where.store) if x and ledger else None,
        fitness=_fitness(known) if known else (),
        working=_working(jobs, pods, _titles(x, known) if x and known else {}),
        events=tuple(
            Told(
                at=event.get("lastTimestamp") or event["metadata"]["creationTimestamp"],
                reason=event.get("reason", ""),
                message=event.get("message", ""),
            )
            for event in events
        ),
    )


def _fitness(known: Walk) -> tuple[Point, ...]:
    points = []
    for generation in known.generations:
        scores = [result.score for result in generation.results if isinstance(result, ScoreSummary)]
        rejected = sum(result is not None for result in generation.results) - len(scores)
        best, mean = (max(scores), fmean(scores)) if scores else (None, None)
        points.append(Point(generation=generation.number, best=best, mean=mean, scored=len(scores), rejected=rejected))
    return tuple(points)


def tasks_of(known: Walk) -> list[Task]:
    """Tasks of a run that somebody may ask for by name: the candidates', and those that are ready."""
    return [*(task for generation in known.generations for task in generation.tasks), *known.ready]


def _titles(x: Experiment, known: Walk) -> dict[str, str]:
    return {task.id[:16]: title(task, x) for task in tasks_of(known)}


def _working(
    jobs: Sequence[SeenJob], pods: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> tuple[Working, ...]:
    """What goes on, the longest first; what has ended well is no news."""
    nodes = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}
    found = []
    for job in jobs:
        if job.finished and not job.failed:
            continue
        stage = {"merge": "merge", "evaluate": "eval"}.get(job.part, "")
        known = [titles[task[:16]] for task in job.tasks if task[:16] in titles] if job.part != "recall" else []
        more = f" and {len(known) - 1} more" if len(known) > 1 else ""
        what = "".join(known[:1]) + more or {"recall": "asking the store", "finish": "summary"}.get(job.part, job.part)
        what = f"{what} ({stage})" if stage else what
        pod = job.pods[-1] if job.pods else None
        found.append(
            Working(
                what=what,
                stage=stage or job.part,
                name=pod.name if pod else job.name,
                node=nodes.get(pod.name, "") if pod else "",
                state=_state(job),
                since=(pod and pod.running_since) or job.created,
            )
        )
    return tuple(found)


def _state(job: SeenJob) -> str:
    pod = job.pods[-1] if job.pods else None
    if job.suspended:
        return "queued"
    if job.failed:
        return f"failed: {pod.ending.text}" if pod and pod.ending else "failed"
    if pod is None:
        return job.refused or "no Pod yet"
    if pod.leaving or job.leaving:
        return "stopping"
    if pod.ending:
        return "ended"
    return "running" if pod.running_since else pod.waits or "starting"


def age(since: float | str, now: float) -> str:
    """How long ago something was, as kubectl says it."""
    then = seconds(since) or now if isinstance(since, str) else since
    left = max(0, int(now - then))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= 2 * size:
            return f"{left // size}{unit}"
    return f"{left}s"

"""`kubectl darwin logs`: what workers say, from their Pods while they exist, from the store afterwards.

A Pod's log is one JSON line an event, and goes up to the store when the Pod ends; the operator deletes a Job once its
result is known. So most of what has ended is in the store, and what goes on is in Pods.
"""

import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from darwinmerge.errors import BadConfiguration, DarwinError
from darwinmerge.pipeline.plan import walk
from darwinmerge_operator.api import Gone, Object
from darwinmerge_operator.ending import worker_state
from darwinmerge_operator.job import LABEL
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.resource import DarwinMerge
from darwinmerge_operator.seen import tasks_of
from kubectl_darwin.arguments import reaches_cluster
from kubectl_darwin.change import ended
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.found import ledger_of, resource_of
from kubectl_darwin.store import store_of

LOOK_SECONDS = 2.0  # between looks for new Pods
STAGES = (
    *("resolve", "rows", "mri", "search", "score", "merge", "eval"),
    *("report", "export", "health", "verdict", "publish", "recall", "finish"),
)
EPILOG = """
\b
Examples:
  kubectl darwin logs my-merge                        of all its Pods
  kubectl darwin logs my-merge -f | jq -cR 'fromjson? | {stage, generation, candidate, event, done, total}'
  kubectl darwin logs my-merge --stage mri            of one stage; of Pods that are gone, from the store
  kubectl darwin logs my-merge --candidate 3/2        generation 3, candidate 2, as history counts them
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option("--stage", default="", type=click.Choice(["", *STAGES]), metavar="STAGE", help=f"{', '.join(STAGES)}.")
@click.option("--candidate", default="", metavar="G/C", help="Generation and candidate, both from 1.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes, and with Pods that start, until the run ends."
)
@click.option("--tail", default=None, type=click.IntRange(0), help="Only the last lines of each log.")
@reaches_cluster
def logs(cluster: Cluster, name: str, stage: str, candidate: str, follow: bool, tail: int | None) -> None:
    """Print logs of a run: of its Pods while they exist, else from its store, with S3 credentials of your own.

    A worker's lines are JSON, and say which stage and candidate (there counted from 0) they are about; a Pod's log has
    what libraries print besides. Where lines are from is said on stderr.
    """
    run = cluster.named(name)
    task = _task(candidate, resource_of(run), ledger_of(cluster, run)) if candidate else ""

    def mine() -> list[Object]:
        found = cluster.pods(run["metadata"]["namespace"], run["metadata"]["name"])
        of_stage = [pod for pod in found if stage in ("", pod["metadata"]["labels"][f"{LABEL}/stage"])]
        return [pod for pod in of_stage if not task or any(one.startswith(task) for one in tasks_of(pod["spec"]))]

    if follow and not ended(run):
        for line in _followed(cluster, run, mine, bool(stage or task), tail):
            if _about(line, task):
                click.echo(line)
        return
    spoken = False
    for pod in sorted(mine(), key=lambda pod: str(pod["metadata"]["creationTimestamp"])):
        spoken = _print(cluster, pod, task, tail) or spoken
    if not spoken:
        _from_store(resource_of(run), ledger_of(cluster, run), stage, task, tail)


def _about(line: str, task: str) -> bool:
    """Whether a Pod's line may be about a task: not if it says that it is about another."""
    told = re.search(r'"task": "([0-9a-f]{16})"', line) if task else None
    return not told or told[1] == task


def _print(cluster: Cluster, pod: Object, task: str, tail: int | None) -> bool:
    """Print a Pod's log, as far as it may be about a task; False where it has none (yet, or any more)."""
    metadata = pod["metadata"]
    if not _speaks(pod):
        return False
    try:
        lines = cluster.log(metadata["namespace"], metadata["name"], tail=tail)
        click.echo(f"==> Pod {metadata['name']} on {pod['spec'].get('nodeName', '?')}", err=True)
        for line in lines:
            if _about(line, task):
                click.echo(line)
    except Gone:
        return False  # meanwhile
    return True


def _speaks(pod: Object) -> bool:
    """Whether its container has been started."""
    state = worker_state(pod)
    return bool(state.get("running") or state.get("terminated"))


def _task(candidate: str, resource: DarwinMerge, ledger: Ledger | None) -> str:
    """The first digits of a candidate's task.

    Raises:
        BadConfiguration: there is no such candidate.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", candidate)
    if not found:
        raise BadConfiguration(f"--candidate {candidate}: write GENERATION/CANDIDATE, both from 1, such as 3/2")
    known = walk(resource.experiment(), ledger.results).generations if ledger else []
    for generation in known:
        for number, task in enumerate(generation.tasks, 1):
            if (generation.number, number) == tuple(map(int, found.groups())):
                return task.id[:16]
    there = ", ".join(f"{g.number}/1 to {g.number}/{len(g.tasks)}" for g in known[-3:]) or "none yet"
    raise BadConfiguration(f"--candidate {candidate}: no such candidate; the last ones: {there}")


def _followed(cluster: Cluster, run: Object, mine: Any, chosen: bool, tail: int | None) -> Iterator[str]:
    """Lines of all Pods as they come, until the run ends; of chosen ones, until those have ended."""
    said: queue.Queue[str | DarwinError] = queue.Queue()
    readers: dict[str, threading.Thread] = {}

    def read(pod: Object) -> None:
        try:
            metadata = pod["metadata"]
            for line in cluster.log(metadata["namespace"], metadata["name"], follow=True, tail=tail):
                said.put(line)
        except Gone:
            pass
        except DarwinError as error:
            said.put(error)

    due = 0.0
    while True:
        if time.monotonic() >= due:
            for pod in mine():
                name = pod["metadata"]["name"]
                if name not in readers and _speaks(pod):
                    click.echo(f"==> Pod {name} on {pod['spec'].get('nodeName', '?')}", err=True)
                    readers[name] = threading.Thread(target=read, args=(pod,), daemon=True)
                    readers[name].start()
            run = cluster.named(f"{run['metadata']['namespace']}/{run['metadata']['name']}")
            due = time.monotonic() + LOOK_SECONDS
        try:
            line = said.get(timeout=0.2)
        except queue.Empty:
            silent = not any(reader.is_alive() for reader in readers.values())
            if silent and (ended(run) or (chosen and readers)):
                return
            continue
        if isinstance(line, DarwinError):
            raise line
        yield line


def _from_store(resource: DarwinMerge, ledger: Ledger | None, stage: str, task: str, tail: int | None) -> None:
    """Print what lies in the store, in the order in which results came.

    Raises:
        BadConfiguration: nothing lies there.
    """
    store = store_of(resource)
    keys = [stat.key for stat in store.list("logs/")]
    found = chosen(keys, list(ledger.results) if ledger else [], stage, task)
    if not found:
        what = " ".join(filter(None, (f"of stage {stage}" if stage else "", "of this candidate" if task else "")))
        few = f"there are {len(keys)} logs in all" if keys else "a log goes up when its Pod ends"
        raise BadConfiguration(" ".join(f"no Pod, and no log in {store.uri}/logs/ {what}".split()) + f": {few}")
    for key in found:
        click.echo(f"==> {store.uri}/{key}", err=True)
        lines = store.read(key).decode(errors="replace").splitlines()
        for line in lines[len(lines) - tail :] if tail is not None and tail < len(lines) else lines:
            click.echo(line)


def chosen(keys: Sequence[str], order: Sequence[str], stage: str, task: str) -> list[str]:
    """Logs of a stage and of a task, or of all, in the order of tasks `order`; of tasks that aren't there, last.

    A log's name is `logs/<stage>-<task>/<Pod>-<random>.jsonl`, and a Pod's name ends with stage, hash, attempt and
    letters; merge and eval are two Jobs' stages of one task.
    """
    place = {one[:16]: number for number, one in enumerate(order)}
    of_stage = re.compile(rf"-{stage}-[0-9a-f]{{8}}-\d+-[a-z0-9]+-[0-9a-f]{{8}}\.jsonl$" if stage else "")
    found = [key for key in keys if of_stage.search(key) and f"-{task}" in key]
    return sorted(found, key=lambda key: (place.get(key.split("/")[1].rpartition("-")[2], len(place)), key))

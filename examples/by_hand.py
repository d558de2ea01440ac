"""One run as plain Jobs: what an operator does, without an operator. docs/by-hand.md walks through it.

    python examples/by_hand.py merge.yaml --namespace darwin --image darwin-gpu:1 --secret s3 --task-files tasks

It keeps nothing but what it hears from Pods, and never touches store or parents. Stopped and started again, it takes
over the Jobs that it finds, and asks for all else anew: what the store has is answered from there.
"""

import argparse
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.orders import Message, Orders, Part, order
from darwinmerge.pipeline.plan import Outcome, plan
from darwinmerge.pipeline.retention import spent
from darwinmerge.pipeline.retry import Attempt, GiveUp, retry
from darwinmerge.pipeline.tasks import Done, ResolveSummary, Result, Task, TaskId, candidate_of
from darwinmerge_operator.ending import Ending, ending
from darwinmerge_operator.job import PodSettings, job

WATCH_SECONDS = 60  # after which a watch is begun anew


class Cluster:
    """Jobs of one namespace, as far as a run needs them."""

    def __init__(self, namespace: str) -> None:
        """The cluster that KUBECONFIG or ~/.kube/config names."""
        self.namespace, kinds = namespace, DynamicClient(config.new_client_from_config()).resources
        self.jobs: Any = kinds.get(api_version="batch/v1", kind="Job")
        self.pods: Any = kinds.get(api_version="v1", kind="Pod")

    def create(self, manifest: dict[str, Any]) -> None:
        """Create a Job, unless it is there: a name says all that a Job does."""
        with contextlib.suppress(ConflictError):
            strict = [("fieldValidation", "Strict")]
            self.jobs.create(manifest, self.namespace, query_params=strict)

    def finished(self, names: Collection[str]) -> str:
        """Wait for one of these Jobs to end."""
        while True:
            for change in self.jobs.watch(self.namespace, timeout=WATCH_SECONDS):
                found = change["raw_object"]
                conditions = [c["type"] for c in found["status"].get("conditions", []) if c["status"] == "True"]
                if found["metadata"]["name"] in names and {"Complete", "Failed"} & {*conditions}:
                    return str(found["metadata"]["name"])

    def ending(self, name: str) -> Ending:
        """How the last Pod of a Job ended."""
        pods = self.pods.get(namespace=self.namespace, label_selector=f"batch.kubernetes.io/job-name={name}")
        latest_first = sorted(pods.to_dict()["items"], key=lambda p: p["metadata"]["creationTimestamp"], reverse=True)
        endings = [found for pod in latest_first if (found := ending(pod))]
        gone = Ending(reason="Malformed", exit=ExitCode.INTERNAL, text=f"Job {name} has no Pod left to ask")
        return endings[0] if endings else gone

    def delete(self, name: str) -> None:
        """Delete a Job and its Pods."""
        self.jobs.delete(name, self.namespace, propagation_policy="Background")


class Run:
    """One run: a plan, its Jobs, their results."""

    def __init__(self, experiment: Experiment, pod: PodSettings, cluster: Cluster) -> None:
        """A run that knows nothing yet."""
        self.experiment, self.pod, self.cluster = experiment, pod, cluster
        self.results: dict[TaskId, Result] = {}
        self.attempts: dict[TaskId, list[Attempt]] = defaultdict(list)
        self._merged: set[TaskId] = set()
        self._jobs: dict[str, Orders] = {}  # that run now
        self._made: Counter[tuple[TaskId, ...]] = Counter()

    def run(self) -> Outcome:
        """Run to the outcome.

        Raises:
            SystemExit: a task failed for good.
        """
        while not (now := plan(self.experiment, self.results)).outcome:
            busy = {one.id for orders in self._jobs.values() for one in orders.orders}
            for orders in self._orders([task for task in now.ready if task.id not in busy]):
                self._start(orders)
            name = self.cluster.finished(self._jobs)
            self._take(self._jobs.pop(name), self.cluster.ending(name))
            self.cluster.delete(name)
        return now.outcome

    def _orders(self, tasks: list[Task]) -> Iterator[Orders]:
        """Who does what: a candidate is merged by a pod of its own and scored by another; one pod does all the rest."""
        where = self.experiment.where
        rest = []
        for task in tasks:
            before = [attempt.exit for attempt in self.attempts[task.id]]
            last_try = ExitCode.EVALUATOR_FAILED in before
            if candidate_of(task.inputs):
                part: Part = "evaluate" if task.id in self._merged else "merge"
                yield Orders(where=where, orders=(order(task, part, last_try),))
            else:
                rest.append(order(task, last_try=last_try))
        if rest:
            yield Orders(where=where, orders=tuple(rest), drop=spent(self.experiment, self.results))

    def _start(self, orders: Orders) -> None:
        key = tuple(one.id + one.part for one in orders.orders)
        self._made[key] += 1
        sizes = [
            r.summary for r in self.results.values() if isinstance(r, Done) and isinstance(r.summary, ResolveSummary)
        ]
        parent_bytes = sum(size.father_bytes + size.mother_bytes for size in sizes)
        manifest = job(self.experiment.name, orders, self._made[key], self.pod, parent_bytes)
        self._jobs[manifest["metadata"]["name"]] = orders
        self.cluster.create(manifest)

    def _take(self, orders: Orders, end: Ending) -> None:
        message = end.message or Message()
        self.results |= {result.task: result for result in message.results}
        if end.exit == ExitCode.OK:
            self._merged |= {one.id for one in orders.orders if one.part == "merge"}
            return
        blamed = message.failed.task if message.failed and message.failed.task else orders.orders[0].id
        attempts = self.attempts[blamed]
        attempts.append(Attempt(task=blamed, number=len(attempts) + 1, exit=end.exit, message=end.text))
        decision = retry(self.experiment.limits, attempts)
        if isinstance(decision, GiveUp):
            raise SystemExit(f"{decision.reason}: {decision.message}")
        time.sleep(decision.seconds)


def main() -> None:
    """Run a manifest, and say what happens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--image", required=True, help="the worker's image")
    parser.add_argument("--gpus", type=int, default=0, help="of each Pod")
    parser.add_argument("--secret", default="", help="a Secret with the S3 keys")
    parser.add_argument("--endpoint", default="", help="of the S3, as Pods see it; default: AWS")
    parser.add_argument("--task-files", default="", help="a ConfigMap with the files of evaluation.taskFolder")
    given = parser.parse_args()
    device = "cuda" if given.gpus else "cpu"
    experiment = experiment_of(load(given.manifest), given.manifest.parent, device)
    environment = {"AWS_ENDPOINT_URL_S3": given.endpoint} if given.endpoint else {}
    pod = PodSettings(
        image=given.image,
        gpus=given.gpus,
        secret=given.secret,
        environment=environment,
        task_files=given.task_files,
    )
    outcome = Run(experiment, pod, Cluster(given.namespace)).run()
    print(f"{outcome.kind}: {outcome.reason} {outcome.message}")


if __name__ == "__main__":
    main()

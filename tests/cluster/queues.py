"""A queue of the real Kueue, made of the example's manifests, and what tests ask of it.

Each queue has names of its own, since all but the LocalQueue belongs to the whole cluster; all else is as in the
example, so that what people copy is what is tested.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError

from darwinmerge_operator.pod import QUEUE_LABEL
from darwinmerge_operator.resource import KIND
from darwinmerge_operator.seen import seconds
from tests.cluster.conftest import Kubernetes
from tests.cluster.operated import GPU, ROOT, Json, Run
from tests.cluster.outcomes import rows

EXAMPLE = ROOT / "examples" / "kueue"
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Queue:
    """A ClusterQueue, its two flavors, its PriorityClass, and its LocalQueue in one namespace."""

    kubernetes: Kubernetes
    namespace: str
    name: str
    urgent: str  # the PriorityClass
    made: tuple[Json, ...]

    @classmethod
    def make(cls, kubernetes: Kubernetes, namespace: str, gpus: int = 1) -> "Queue":
        """The example's, with a quota of so many GPUs."""
        try:
            kubernetes.of("ClusterQueue")
        except ResourceNotFoundError:
            pytest.skip("the cluster has no Kueue 0.15 or newer: https://kueue.sigs.k8s.io/docs/installation")
        nodes = kubernetes.of("Node").get().to_dict()["items"]
        if not any(node["metadata"]["labels"].get(f"{GPU}.present") for node in nodes):
            pytest.skip(f"no node is labelled {GPU}.present=true and offers {GPU}, as one with NVIDIA's operator does")
        mark = secrets.token_hex(3)
        text = "\n---\n".join((EXAMPLE / f"{file}.yaml").read_text() for file in ("queue", "local-queue"))
        for name in ("any-node", "gpu-node", "experiments"):
            text = re.sub(rf"(name|Queue): {name}", rf"\g<0>-{mark}", text)
        made = tuple(yaml.safe_load_all(text))
        names = {one["kind"]: one["metadata"]["name"] for one in made}
        for one in made:
            kubernetes.create(one, namespace if one["kind"] == "LocalQueue" else None)
        queue = cls(kubernetes, namespace, names["LocalQueue"], names["PriorityClass"], made)
        queue.give(gpus)
        return queue

    def give(self, gpus: int) -> None:
        """Change the quota of GPUs."""
        (spec,) = (one["spec"] for one in self.made if one["kind"] == "ClusterQueue")
        groups = [yaml.safe_load(yaml.safe_dump(group)) for group in spec["resourceGroups"]]
        for resource in groups[-1]["flavors"][0]["resources"]:
            resource["nominalQuota"] = str(gpus)
        self.change(resourceGroups=groups)

    def change(self, **spec: Any) -> None:
        """Change the ClusterQueue."""
        self.kubernetes.of("ClusterQueue").patch({"spec": spec}, self.name, content_type=MERGE)

    def used(self) -> int:
        """GPUs that are lent to Jobs now."""
        status = self.kubernetes.of("ClusterQueue").get(name=self.name).to_dict().get("status", {})
        flavors = [flavor for flavor in status.get("flavorsUsage", []) if flavor["name"].startswith("gpu-node")]
        return sum(int(one["total"]) for flavor in flavors for one in flavor["resources"])

    def workloads(self) -> list[Json]:
        """What Kueue knows of the Jobs in it."""
        found = self.kubernetes.list("Workload", self.namespace)
        return [one for one in found if one["spec"]["queueName"] == self.name]

    def interrupt(self, image: str) -> Json:
        """A Job of somebody else's that is urgent, wants a GPU and never ends."""
        labels = {QUEUE_LABEL: self.name}
        container = {
            "name": "urgent",
            "image": image,
            "command": ["sleep", "infinity"],
            "resources": {"limits": {GPU: 1, "cpu": "100m", "memory": "64Mi"}},
        }
        pod = {
            "restartPolicy": "Never",
            "priorityClassName": self.urgent,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        spec = {"suspend": True, "template": {"spec": pod}}
        meta = {"name": f"urgent-{secrets.token_hex(3)}", "labels": labels}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
        return self.kubernetes.create(job, self.namespace)

    def end(self, job: Json) -> None:
        """Delete a Job and its Pods."""
        body = {"propagationPolicy": "Background"}
        self.kubernetes.of("Job").delete(job["metadata"]["name"], self.namespace, body=body)

    def remove(self) -> None:
        """Remove the queue, once nothing is in it."""
        for one in reversed(self.made):
            place = [self.namespace] if one["kind"] == "LocalQueue" else []
            try:
                self.kubernetes.of(one["kind"]).delete(one["metadata"]["name"], *place)
            except NotFoundError:
                continue


def transcript(kubernetes: Kubernetes, namespace: str, since: float) -> str:
    """What Kueue, Kubernetes and the operator have told of Workloads, Jobs and runs since a time; in Markdown."""
    told = []
    for event in kubernetes.list("Event", namespace):
        about, when = event["involvedObject"], event.get("lastTimestamp") or event.get("eventTime")
        if about["kind"] in ("Workload", "Job", KIND) and when and (seconds(when) or 0.0) >= int(since):
            who = event.get("reportingComponent") or (event.get("source") or {}).get("component", "")
            told.append([when, who, f"{about['kind']} {about['name']}", event["reason"], event.get("message", "")])
    return rows(["time", "who", "about", "reason", "message"], sorted(told))


def with_name(run: Run, name: str) -> Run:
    """The run under another name."""
    run.document["metadata"]["name"] = name
    return run

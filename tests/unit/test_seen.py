"""What is read out of Jobs, Pods and Kueue's Workloads: whose Pods a queue took away, and what it says of a Job."""

from typing import Any

import pytest

from darwinmerge_operator.job import LABEL
from darwinmerge_operator.seen import SeenJob, seen_jobs, words_of

LACKS = "insufficient unused quota for nvidia.com/gpu in flavor gpu-node, 1 more needed"
TAKEN = "Preempted to accommodate a workload due to prioritization in the ClusterQueue"


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02d}:00Z"


def job_with_pod(created: int, **job: Any) -> SeenJob:
    """A Job, and a Pod of it that was made in this minute and is being deleted."""
    labels = {f"{LABEL}/task": "t", f"{LABEL}/part": "all", f"{LABEL}/attempt": "1"}
    metadata = {"name": "j", "uid": "j", "creationTimestamp": at(0), "labels": labels}
    worker = {"name": "worker", "env": [{"name": "DARWIN_ORDERS", "value": '{"orders": [{"id": "t1"}]}'}]}
    template = {"spec": {"containers": [{"name": "mesh"}, worker]}}
    pod = {
        "name": "p",
        "uid": "p",
        "creationTimestamp": at(created),
        "deletionTimestamp": at(30),
        "labels": {"batch.kubernetes.io/controller-uid": "j"},
    }
    spec = {"template": template, "suspend": job.pop("suspend", False)}
    pods = [{"metadata": pod, "status": job.pop("pod", {})}]
    (found,) = seen_jobs([{"metadata": metadata, "spec": spec, "status": job}], pods, {}, 0)
    return found


@pytest.mark.parametrize(
    ("created", "job", "preempted"),
    [
        (5, {"startTime": at(5)}, False),
        (5, {"suspend": True}, True),  # the time of its start goes with the quota
        (5, {"startTime": at(6)}, True),  # it was let go again meanwhile
    ],
)
def test_a_pod_from_before_its_job_was_let_go_was_taken_by_the_queue(
    created: int, job: dict[str, Any], preempted: bool
) -> None:
    (pod,) = job_with_pod(created, **job).pods
    assert pod.preempted is preempted


@pytest.mark.parametrize(("scheduled", "waits"), [("False", True), ("True", False)])
def test_a_pod_without_a_node_is_told_from_one_that_has_one(scheduled: str, waits: bool) -> None:
    condition = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "0/3 nodes"}
    job = job_with_pod(5, pod={"conditions": [condition]})
    assert (job.unscheduled, job.pods[-1].waits) == (waits, "Unschedulable: 0/3 nodes" if waits else "")


def test_what_a_job_is_for_stands_in_the_workers_container_whatever_a_webhook_has_added() -> None:
    assert job_with_pod(0).tasks == ("t1",)


def test_a_job_waits_from_when_its_queue_let_it_go() -> None:
    assert job_with_pod(5, startTime=at(9)).waiting_since - job_with_pod(0).waiting_since == 9 * 60


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([("QuotaReserved", "False", LACKS)], LACKS),
        ([("QuotaReserved", "True", ""), ("Admitted", "True", "")], ""),
        ([("QuotaReserved", "True", ""), ("Admitted", "True", ""), ("Evicted", "True", TAKEN)], TAKEN),
        ([("QuotaReserved", "False", LACKS), ("Admitted", "False", ""), ("Evicted", "True", TAKEN)], LACKS),
        ([("QuotaReserved", "True", "Quota reserved"), ("Admitted", "False", "")], "Quota reserved"),  # checks are left
        ([], None),
    ],
)
def test_kueue_says_why_it_holds_a_job_until_it_has_admitted_it(
    conditions: list[tuple[str, str, str]], words: str | None
) -> None:
    listed = [dict(zip(("type", "status", "message"), one, strict=True)) for one in conditions]
    assert words_of([{"status": {"conditions": listed}}]) == words


def test_a_job_that_kueue_does_not_know_has_no_words() -> None:
    assert words_of([]) is None

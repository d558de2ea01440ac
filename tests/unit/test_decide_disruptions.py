"""A Job that ends by no fault of its own is made anew: suspended, preempted, its node lost; but not for ever."""

from darwinmerge.errors import ExitCode
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.seen import SeenPod
from darwinmerge_operator.waits import MAX_DISRUPTIONS
from tests.unit.decided import Run, job_of
from tests.unit.plan_world import World, experiment


def test_suspension_ends_jobs_without_blame_and_resumption_makes_the_next_attempts() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    found = jobs.step(suspend=True)
    assert job_of(start, 0).name in found.remove
    assert found.start == ()
    assert jobs.step(suspend=True).remove == ()
    assert [one.attempt for one in jobs.step().start if one.stage == "mri"] == [2]


def test_a_job_that_was_to_be_deleted_and_is_still_there_is_deleted() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    there = jobs.jobs
    jobs.step(suspend=True)
    jobs.jobs = there  # the API server didn't answer
    found = jobs.step()
    assert job_of(start, 0).name in found.remove
    assert [one.attempt for one in found.start if one.stage == "mri"] == [2]


def test_a_pod_on_a_lost_node_is_replaced() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    lost = SeenPod(name="p", uid="p", running_since=1.0, lost=True)
    jobs.jobs = tuple(job.model_copy(update={"pods": (lost,)}) for job in jobs.jobs)
    found = jobs.step()
    assert job_of(start, 0).name in found.remove
    assert [one.attempt for one in found.start if one.stage == "mri"] == [2]


def test_what_a_queue_takes_away_is_no_disruption_however_often() -> None:
    jobs = Run(experiment())
    jobs.step()
    for pod in range(2 * MAX_DISRUPTIONS):
        gone = SeenPod(name="p", uid=str(pod), leaving=True, preempted=True)
        jobs.jobs = tuple(job.model_copy(update={"suspended": True, "pods": (gone,)}) for job in jobs.jobs)
        assert jobs.step().halts == ()
    assert jobs.ledger.disrupted == {}


def test_disruptions_are_forgiven_up_to_a_cap_even_of_pods_that_are_long_gone() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    for number in range(MAX_DISRUPTIONS):
        assert jobs.step().halts == ()
        pod = SeenPod(name="p", uid=f"{number}", running_since=jobs.now, leaving=True)
        jobs.jobs = tuple(job.model_copy(update={"pods": (pod,)}) for job in jobs.jobs)
    found = jobs.step()
    assert [(halt.reason, halt.final) for halt in found.halts] == [("TooManyDisruptions", True)]
    assert job_of(start, 0).name in found.remove
    assert [one for one in jobs.step().start if one.stage == "mri"] == []
    jobs.retry = "2026-01-01T00:00:00Z"
    assert [one.stage for one in jobs.step().start] == ["mri"]


def test_a_gpu_that_its_node_does_not_offer_for_minutes_burns_no_attempt() -> None:
    """After a reboot the kubelet takes Pods before the plugin has told it of its devices."""
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    began, words = jobs.now, "UnexpectedAdmissionError: no GPU is there"
    refused = Ending(reason="NotAdmitted", exit=ExitCode.INTERRUPTED, text=words)
    for _ in range(jobs.x.limits.interruptions):
        jobs.end(job_of(start, 0), refused, failed=True)
        found = jobs.step()
        if found.again_in and not found.start:
            jobs.now += found.again_in
            found = jobs.step()
        start = next((one for one in found.start if one.stage == "mri"), start)
    assert jobs.now > began + 600
    (halt,) = found.halts
    assert (halt.reason, halt.final) == ("TooManyInterruptions", True)
    assert words in halt.message

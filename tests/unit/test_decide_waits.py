"""What doesn't run is waited for: a node for a while, a queue's turn without end; only time that Pods run counts."""

import pytest

from darwinmerge_operator.decision import Policy
from darwinmerge_operator.seen import SeenPod
from darwinmerge_operator.waits import NODE_SECONDS, PENDING_SECONDS, TURN_SECONDS
from tests.unit.decided import HOUR, Run, job_of, scaling
from tests.unit.plan_world import World, experiment


def test_why_a_pod_does_not_start_is_told_in_the_apis_words_after_ten_seconds() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    jobs.jobs = tuple(job.model_copy(update={"refused": "exceeded quota: gpus"}) for job in jobs.jobs)
    assert jobs.step().halts == ()
    jobs.now += 10
    (halt,) = jobs.step().halts
    assert (halt.reason, halt.final) == ("PodRefused", False)
    assert "exceeded quota: gpus" in halt.message


def test_a_pod_without_a_node_is_waited_for_as_long_as_a_cluster_may_need_to_make_one() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    scaling(jobs)
    began, told = jobs.now, []
    while not (found := jobs.step()).halts:
        told.append((jobs.now - began, bool(found.pending)))
        assert found.again_in
        jobs.now += found.again_in
    assert told == [(0, False), (PENDING_SECONDS, True)]
    assert jobs.now - began == NODE_SECONDS
    (halt,) = found.halts
    assert (halt.reason, halt.final, "0/3 nodes" in halt.message) == ("PodPending", False, True)


@pytest.mark.parametrize("limit", [5.0, 3600.0])
def test_a_deadline_of_ones_own_says_how_long_a_node_may_take(limit: float) -> None:
    jobs = Run(experiment(), Policy(parallelism=3, pending_deadline=limit))
    jobs.until(World(), "mri")
    scaling(jobs)
    jobs.now += limit - 1
    assert jobs.step().halts == ()
    jobs.now += 1
    assert [halt.reason for halt in jobs.step().halts] == ["PendingDeadlineExceeded"]


def test_what_waiting_does_not_mend_stalls_soon() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    pod = SeenPod(name="p", uid="p", waits="ImagePullBackOff: nowhere:1")
    jobs.jobs = tuple(job.model_copy(update={"pods": (pod,)}) for job in jobs.jobs)
    jobs.now += PENDING_SECONDS
    found = jobs.step()
    assert ([halt.reason for halt in found.halts], found.pending) == (["PodPending"], "")


def test_a_job_that_kueue_holds_is_not_stalled() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    jobs.jobs = tuple(job.model_copy(update={"suspended": True}) for job in jobs.jobs)
    jobs.now += HOUR
    assert jobs.step().halts == ()


def test_in_a_queue_the_next_job_comes_only_when_others_have_had_their_turn() -> None:
    """Kueue would put it before those that wait."""
    jobs = Run(experiment(), Policy(parallelism=2, queued=True))
    started = jobs.step().start
    jobs.finish(World(), started)
    jobs.jobs = tuple(job.model_copy(update={"completed_at": jobs.now}) for job in jobs.jobs)
    found = jobs.step()
    assert (found.start, found.remove, found.again_in) == ((), (), TURN_SECONDS)
    jobs.now += TURN_SECONDS
    found = jobs.step()
    assert len(found.start) == 2
    assert found.remove == (job_of(started[0], 0).name,)


def test_a_job_whose_pod_has_told_everything_keeps_its_place_until_it_is_complete() -> None:
    jobs = Run(experiment(), Policy(parallelism=2, queued=True))
    jobs.finish(World(), jobs.step().start)
    jobs.jobs = tuple(job.model_copy(update={"complete": False}) for job in jobs.jobs)
    found = jobs.step()
    assert (found.start, found.remove, found.again_in) == ((), (), TURN_SECONDS)


def test_each_job_that_has_ended_in_a_queue_keeps_its_place_for_a_moment() -> None:
    jobs = Run(experiment(), Policy(parallelism=2, queued=True))
    jobs.finish(World(), jobs.step().start)
    first, second = jobs.step().start  # parents and rows
    jobs.finish(World(), [first])
    ended = {job_of(first, 0).name: jobs.now}
    jobs.jobs = tuple(job.model_copy(update={"completed_at": ended.get(job.name, 0.0)}) for job in jobs.jobs)
    assert jobs.step().start == ()
    assert job_of(second, 0).name in {job.name for job in jobs.jobs}


def test_a_queues_wait_counts_against_no_deadline() -> None:
    jobs = Run(experiment(), Policy(parallelism=3, pending_deadline=60.0))
    jobs.until(World(), "mri")
    jobs.now += HOUR
    for since, stalls in ((jobs.now - 1, False), (jobs.now - 61, True)):
        jobs.jobs = tuple(job.model_copy(update={"waiting_since": since}) for job in jobs.jobs)
        assert bool(jobs.step().halts) == stalls


def test_the_deadline_counts_only_time_with_a_pod_running_and_raising_it_goes_on() -> None:
    jobs = Run(experiment(), Policy(parallelism=3, active_deadline=100.0))
    jobs.until(World(), "mri")
    jobs.now += HOUR
    assert jobs.step().halts == (), "nothing has run yet"
    running = (SeenPod(name="p", uid="p", running_since=jobs.now),)
    jobs.jobs = tuple(job.model_copy(update={"pods": running}) for job in jobs.jobs)
    assert jobs.step().again_in == pytest.approx(100.0)
    jobs.now += 101
    found = jobs.step()
    assert [halt.reason for halt in found.halts] == ["DeadlineExceeded"]
    assert found.remove
    assert [one.attempt for one in jobs.step(active_deadline=1000.0).start if one.stage == "mri"] == [2]


def test_time_counts_by_the_pods_own_clocks_and_once_where_two_ran() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    jobs.step()
    began = jobs.now
    ran = [(began + 10, began + 40), (began + 20, began + 70)]
    pods = tuple(SeenPod(name="p", uid=f"{a}", running_since=a, finished_at=b) for a, b in ran)
    jobs.jobs = tuple(job.model_copy(update={"pods": pods}) for job in jobs.jobs)
    jobs.now += HOUR  # nobody has looked for so long
    before = jobs.ledger.active_seconds
    assert jobs.step().ledger.active_seconds - before == pytest.approx(60)
    jobs.now += HOUR
    assert jobs.step().ledger.active_seconds - before == pytest.approx(60)

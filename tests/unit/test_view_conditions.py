"""A run's conditions and phase at single looks: what it is, what it waits for, and in whose words."""

from typing import Any

from darwinmerge.errors import ExitCode
from darwinmerge_operator.decision import Decision, Halt
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.status import Status
from darwinmerge_operator.view import STARTED, condition, refused, status_of
from darwinmerge_operator.waits import PENDING_SECONDS
from tests.unit.decided import HOUR, failed, scaling
from tests.unit.looks import WIDE, Looks, at_mri, finished, running
from tests.unit.plan_world import experiment


def halted(*halts: Halt) -> Status:
    """What a run shows that was going on and is halted."""
    looks = at_mri()
    looks.step()
    return status_of(looks.seen(), Decision(ledger=looks.ledger, halts=halts), looks.status)


def test_it_is_ready_once_it_is_accepted_and_its_first_job_exists() -> None:
    looks = Looks(experiment())
    looks.step()
    assert looks.says("Accepted") == ("True", "Valid")
    assert looks.says("Ready") == ("False", "Starting")
    assert looks.says("Reconciling") == ("True", "Starting")
    looks.step()
    assert looks.says("Ready") == ("True", "Started")
    assert looks.says("Reconciling") is None


def test_it_stays_ready_without_a_job() -> None:
    looks = at_mri()
    looks.step(suspend=True)
    looks.jobs, looks.ledger = (), Ledger()
    looks.step(suspend=True)
    assert looks.says("Ready") == ("True", "Started")


def test_one_that_waits_for_a_person_from_the_start_is_not_reconciling() -> None:
    looks = Looks(experiment())
    looks.step(suspend=True)
    assert looks.says("Ready") == ("False", "Starting")
    assert looks.says("Reconciling") is None


def test_one_whose_first_job_is_not_taken_is_stalled_and_not_reconciling() -> None:
    looks = Looks(experiment())
    refusal = Halt(reason="JobRefused", message="no quota")
    status = status_of(looks.seen(), Decision(ledger=looks.ledger, halts=(refusal,)), None)
    assert condition(status, "Stalled")
    assert condition(status, "Reconciling") is None


def test_the_diagnosis_is_told_once_it_is_known() -> None:
    looks = Looks(experiment())
    started = looks.until(WIDE, "mri").start
    assert looks.says("MRIInformative") is None
    looks.finish(WIDE, started)
    looks.step()
    assert looks.says("MRIInformative") == ("False", "NotInformative")


def test_suspended_is_absent_until_it_is_true_and_then_stays() -> None:
    looks = at_mri()
    assert looks.says("Suspended") is None
    looks.step(suspend=True)
    assert (looks.says("Suspended"), looks.status.phase) == (("True", "Suspended"), "Suspended")
    looks.step()
    assert (looks.says("Suspended"), looks.status.phase) == (("False", "Resumed"), "MRI")


def test_jobs_that_kueue_holds_for_a_while_are_queued() -> None:
    looks = at_mri()
    looks.with_jobs(suspended=True)
    looks.step()
    assert looks.says("Suspended") is None, "most are admitted at once"
    looks.now += 10
    looks.step()
    assert (looks.says("Suspended"), looks.status.phase) == (("True", "Queued"), "Queued")
    looks.with_jobs(suspended=False, pods=running(looks.now))
    looks.step()
    assert (looks.says("Suspended"), looks.status.phase) == (("False", "Resumed"), "MRI")


def queued(**more: Any) -> Looks:
    """A run that is told to be queued."""
    looks = at_mri()
    looks.with_jobs(suspended=True)
    looks.now += 10
    looks.with_jobs(**more)
    looks.step()
    return looks


def test_why_it_is_queued_is_told_in_kueues_words_where_they_are_known() -> None:
    told, untold = (queued(queue=words).condition("Suspended") for words in ("no such queue", None))
    assert told and told.message == "no such queue"
    assert untold and "spec.cluster.queueName" in untold.message


def test_a_job_that_kueue_is_about_to_let_go_is_not_queued() -> None:
    assert queued(queue="").says("Suspended") is None


def test_a_job_whose_turn_comes_as_another_ends_is_not_queued() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "score")
    first, *others = (job for job in looks.jobs if not job.finished)
    looks.jobs = (first, *(job.model_copy(update={"suspended": True}) for job in others))
    looks.now += 60
    looks.end(first, failed(ExitCode.INTERRUPTED), failed=True)
    looks.step()
    assert looks.says("Suspended") is None


def test_a_queued_run_stays_queued_while_its_jobs_are_made_anew() -> None:
    looks = queued()
    looks.generation += 1
    assert looks.step().start
    assert looks.says("Suspended") == ("True", "Queued")
    looks.with_jobs(suspended=True)
    looks.step()
    assert looks.says("Suspended") == ("True", "Queued")


def test_a_run_of_which_one_job_runs_is_not_queued() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "score")
    first, *others = (job for job in looks.jobs if not job.finished)
    assert others
    held = [job.model_copy(update={"suspended": True}) for job in others]
    looks.jobs = (first.model_copy(update={"pods": running(looks.now)}), *held)
    looks.now += 60
    looks.step()
    assert looks.says("Suspended") is None


def test_a_run_that_waits_for_a_node_is_pending_in_the_words_of_the_moment_that_began() -> None:
    looks = at_mri()
    looks.step()
    for count in (1, 2, 3):
        scaling(looks, f"Unschedulable: {count} Insufficient gpu")
        looks.now += PENDING_SECONDS
        looks.step()
        ready = looks.condition("Ready")
        assert looks.status.phase == "Pending"
        assert ready and (ready.status, ready.reason) == ("True", "Started")
        assert ready.message.endswith("waits for a node: Unschedulable: 1 Insufficient gpu")
        assert looks.says("Stalled") is None
    looks.with_jobs(pods=running(looks.now))
    looks.step()
    ready = looks.condition("Ready")
    assert (looks.status.phase, ready and ready.message) == ("MRI", STARTED)
    assert {"Stalled", "Pending"}.isdisjoint(event.reason for look in looks.events for event in look)


def test_stalled_tells_what_a_person_must_act_upon_before_what_time_may_mend() -> None:
    waits = Halt(reason="PodPending", message="no node")
    final = Halt(reason="OutOfMemory", message="raise the limit", final=True)
    status = halted(waits, final)
    stalled = condition(status, "Stalled")
    assert stalled and (stalled.status, stalled.reason, stalled.message) == ("True", "OutOfMemory", "raise the limit")
    assert status.phase == "Stalled"
    assert condition(halted(waits), "Stalled")
    assert condition(halted(), "Stalled") is None


def test_a_job_that_fails_for_good_stalls_the_run_and_a_retry_lets_it_go_on() -> None:
    looks = at_mri()
    looks.end(looks.jobs[-1], failed(ExitCode.BAD_INPUT), failed=True)
    looks.step()
    assert looks.says("Stalled") == ("True", "BadInput")
    looks.retry = "now"
    looks.step()
    assert (looks.says("Stalled"), looks.status.last_handled_retry_at) == (None, "now")


def test_a_resource_that_is_refused_stalls_and_keeps_what_was_known() -> None:
    looks = finished(experiment(steps=1))
    status = refused(7, "spec.merge: unknown", looks.status, looks.now)
    said = {one.type: (one.status, one.reason) for one in status.conditions}
    assert said["Accepted"] == ("False", "Invalid")
    assert said["Ready"] == ("False", "Invalid")
    assert said["Stalled"] == ("True", "BadConfiguration")
    assert said["Complete"] == looks.says("Complete")
    assert {one.observed_generation for one in status.conditions} == {status.observed_generation} == {7}
    assert status.verdict == looks.status.verdict


def test_a_resource_that_is_refused_at_once_says_why() -> None:
    status = refused(1, "spec.merge: unknown", None, HOUR)
    accepted = condition(status, "Accepted")
    assert accepted and accepted.message == "spec.merge: unknown"
    assert (status.phase, accepted.last_transition_time) == ("Stalled", "1970-01-01T01:00:00Z")

"""A Job that fails is tried again, halts the run where only a person can mend it, and costs no result."""

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Limits
from darwinmerge.pipeline.orders import Message, encode
from darwinmerge_operator.decision import Policy
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.seen import SeenPod
from tests.unit.decided import HOUR, Run, failed, job_of
from tests.unit.plan_world import World, experiment


@pytest.mark.parametrize("code", [ExitCode.BAD_INPUT, ExitCode.BAD_CONFIGURATION, ExitCode.VERSION_SKEW])
def test_what_only_a_person_can_mend_halts_at_once(code: ExitCode) -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    jobs.end(job_of(start, 0), failed(code), failed=True)
    found = jobs.step()
    assert [halt.final for halt in found.halts] == [True]
    assert not [start for start in found.start if start.stage == "mri"]


def test_a_failure_is_tried_again_after_a_while_then_halts_and_never_becomes_a_result() -> None:
    jobs, attempts = Run(experiment()), []
    start = jobs.until(World(), "mri").start[0]
    for _ in range(3):
        attempts.append(start.attempt)
        jobs.end(job_of(start, 0), failed(ExitCode.OUT_OF_MEMORY), failed=True)
        found = jobs.step()
        if found.halts:
            break
        assert found.again_in
        jobs.now += found.again_in
        (start,) = [one for one in jobs.step().start if one.stage == "mri"]
    assert attempts == [1, 2, 3]
    assert found.halts[0].reason == "OutOfMemory"
    assert "mri" not in {result.summary.stage for result in jobs.ledger.results.values() if result.kind == "done"}


@pytest.mark.parametrize("ask", ["retry", "spec"])
def test_a_retry_request_or_another_spec_starts_it_again_with_a_new_attempt(ask: str) -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    jobs.end(job_of(start, 0), failed(ExitCode.BAD_INPUT), failed=True)
    assert jobs.step().halts
    if ask == "retry":
        jobs.retry = "2026-01-01T00:00:00Z"
    else:
        jobs.generation = 2
    found = jobs.step()
    assert not found.halts
    assert [one.attempt for one in found.start if one.stage == "mri"] == [2]
    assert not jobs.step().halts, "a request is answered once"


@pytest.mark.parametrize("runs", [True, False])
def test_after_a_change_of_spec_a_job_that_hangs_is_made_anew_and_one_that_runs_goes_on(runs: bool) -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    pod = SeenPod(name="p", uid="p", running_since=jobs.now if runs else None, waits="" if runs else "no such node")
    jobs.jobs = tuple(job.model_copy(update={"pods": (pod,)}) for job in jobs.jobs)
    jobs.now += 30
    assert bool(jobs.step().halts) != runs
    jobs.generation = 2
    found = jobs.step()
    assert (job_of(start, 0).name in found.remove) != runs
    assert [one.attempt for one in found.start if one.stage == "mri"] == ([] if runs else [2])
    assert not found.halts


def test_exit_zero_without_a_message_is_no_result_but_another_attempt() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    jobs.end(job_of(start, 0), Ending(reason="Malformed", exit=ExitCode.INTERNAL, text="gibberish"), complete=True)
    jobs.now += jobs.step().again_in or 0
    assert [one.attempt for one in jobs.step().start if one.stage == "mri"] == [2]


def test_results_before_a_failure_are_kept() -> None:
    jobs, world = Run(experiment()), World()
    start = jobs.until(world, "mri").start[0]
    told = Message.model_validate_json(encode([world.answer(start.orders.orders[0].task)]))
    ending = failed(ExitCode.INTERNAL).model_copy(update={"message": told})
    jobs.end(job_of(start, 0), ending, failed=True)
    assert start.orders.orders[0].id in jobs.step().ledger.results


def test_what_has_failed_for_good_is_told_while_others_go_on() -> None:
    jobs = Run(experiment(candidates=2), Policy(parallelism=1))
    first = jobs.until(World(), "score").start[0]
    jobs.end(job_of(first, 0), failed(ExitCode.BAD_INPUT), failed=True)
    found = jobs.step()
    assert found.start
    assert [halt.final for halt in found.halts] == [True]
    assert [halt.final for halt in jobs.step().halts] == [True]


def test_a_model_on_which_the_benchmark_failed_has_its_last_try_after_a_retry_request_too() -> None:
    jobs = Run(experiment().model_copy(update={"limits": Limits(attempts=1)}), Policy(parallelism=1))
    first = jobs.until(World(), "score").start[0]
    jobs.end(job_of(first, 0), failed(ExitCode.EVALUATOR_FAILED), failed=True)
    assert jobs.step().halts
    jobs.retry = "again"
    jobs.jobs = tuple(job for job in jobs.jobs if job.finished)
    again = [one for one in jobs.step().start if one.task == first.task]
    assert [one.orders.orders[0].last_try for one in again] == [True]


def test_a_report_that_can_not_be_drawn_holds_nothing_up() -> None:
    """Its Pods are out of memory, again and again: the run ends all the same."""
    jobs, world = Run(experiment(steps=1)), World()
    found = jobs.step()
    while not found.outcome:
        assert not [halt for halt in found.halts if halt.final]
        for start in found.start:
            if start.stage == "report":
                jobs.end(job_of(start, 0), failed(ExitCode.OUT_OF_MEMORY), failed=True)
        jobs.finish(world, [start for start in found.start if start.stage != "report"])
        jobs.now += HOUR
        found = jobs.step()
    assert found.outcome.kind == "Complete"

"""The operator's decision as a table: what the cluster shows goes in, what is to be done comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment, Limits
from darwinmerge.pipeline.orders import Message, Order, encode
from darwinmerge.pipeline.results import Done, Result, TaskId
from darwinmerge.pipeline.tasks import ScoreInputs
from darwinmerge_operator.decide import decide
from darwinmerge_operator.decision import Decision, Policy, Seen
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.job import Start
from darwinmerge_operator.ledger import Ledger, from_data, to_data
from darwinmerge_operator.seen import SeenJob, SeenPod
from darwinmerge_operator.waits import MAX_DISRUPTIONS, NODE_SECONDS, PENDING_SECONDS, TURN_SECONDS
from tests.unit.plan_world import ANY_WORLDS, SEEDS, World, experiment, run, with_steps

HOUR = 3600.0


def done(message: Message | bytes) -> Ending:
    heard = Message.model_validate_json(message) if isinstance(message, bytes) else message
    return Ending(reason="Done", exit=ExitCode.OK, text="", message=heard)


def failed(code: ExitCode) -> Ending:
    return Ending(reason="ExitCode", exit=code, text=f"it ended with {code.name}")


def job_of(start: Start, now: float, **more: Any) -> SeenJob:
    task, tasks = start.task, tuple(one.id for one in start.orders.orders)
    name = f"{task}-{start.part}-{start.attempt}"
    times = {"created": now, "waiting_since": now}
    fields = {"name": name, "task": task, "part": start.part, "tasks": tasks, "attempt": start.attempt, **times}
    fields |= {"stage": start.stage}
    return SeenJob(**(fields | more))


@dataclass
class Run:
    """Feeds `decide` with what its own decisions lead to."""

    x: Experiment
    policy: Policy = field(default_factory=lambda: Policy(parallelism=3))
    store: Mapping[TaskId, Result] = field(default_factory=dict)  # what recall finds
    ledger: Ledger = field(default_factory=Ledger)
    jobs: tuple[SeenJob, ...] = ()
    now: float = HOUR
    retry: str = ""
    generation: int = 1

    def seen(self, **policy: Any) -> Seen:
        return Seen(
            experiment=self.x,
            policy=self.policy.model_copy(update=policy),
            generation=self.generation,
            retry_requested=self.retry,
            ledger=self.ledger,
            jobs=self.jobs,
            now=self.now,
        )

    def decide(self, **policy: Any) -> Decision:
        return decide(self.seen(**policy))

    def step(self, **policy: Any) -> Decision:
        """Decide, and do it."""
        found = self.decide(**policy)
        restored = from_data(to_data(found.ledger))
        assert restored == found.ledger
        self.ledger = found.ledger
        kept = tuple(job for job in self.jobs if job.name not in found.remove)
        self.jobs = (*kept, *(job_of(start, self.now) for start in found.start))
        return found

    def end(self, job: SeenJob, ending: Ending, **how: bool) -> None:
        pod = SeenPod(name=f"{job.name}-x", uid="x", ending=ending, finished_at=self.now)
        self.jobs = tuple(j.model_copy(update={"pods": (pod,), **how}) if j.name == job.name else j for j in self.jobs)

    def finish(self, world: World, starts: Sequence[Start]) -> None:
        """The Jobs of these starts complete, and tell what the world answers."""
        for start in starts:
            job = next(job for job in self.jobs if job.name == job_of(start, 0).name)
            answers: list[Result | None] = [self._answer(world, start, one) for one in start.orders.orders]
            self.end(job, done(encode(answers)), complete=True)

    def _answer(self, world: World, start: Start, one: Order) -> Result | None:
        if start.verb == "recall":
            return self.store.get(one.id)
        return None if start.part == "merge" else world.answer(one.task)

    def until(self, world: World, stage: str) -> Decision:
        """Go on until a Job of `stage` is to be started."""
        for _ in range(500):
            found = self.step()
            if any(start.stage == stage for start in found.start):
                return found
            self.finish(world, found.start)
        raise AssertionError(f"no Job of {stage}")

    def all(self, world: World) -> list[Start]:
        """Go on to the end; all that was started."""
        started: list[Start] = []
        for _ in range(2000):
            found = self.step()
            if found.outcome:
                return started
            started += found.start
            self.finish(world, found.start)
        raise AssertionError("no end")


@settings(max_examples=25, deadline=None)
@given(ANY_WORLDS, SEEDS)
def test_jobs_lead_where_the_local_runner_leads(world: World, seed: int) -> None:
    x = experiment(steps=2, candidates=3, seed=seed % 4)
    jobs = Run(x)
    jobs.all(world)
    local = run(x, world)
    assert {k: v for k, v in jobs.ledger.results.items() if k in local.kept} == local.kept


def test_what_the_store_has_is_recalled_and_nothing_is_computed_again() -> None:
    x, world = experiment(steps=2), World()
    local = run(x, world)
    started = Run(x, store=local.kept).all(world)
    assert {start.verb for start in started if start.part != "finish"} == {"recall"}


def test_the_first_job_of_all_claims_the_store() -> None:
    first = Run(experiment()).decide().start
    assert [(start.verb, start.orders.claim is not None) for start in first] == [("recall", True)]


def test_the_last_job_leaves_the_summary_and_drops_what_is_staged() -> None:
    last = Run(experiment(steps=1)).all(World())[-1]
    assert (last.part, last.orders.drop, last.orders.finish is not None) == ("finish", "All", True)


def test_no_more_jobs_at_once_than_parallelism() -> None:
    jobs, world = Run(experiment(candidates=4), Policy(parallelism=2)), World()
    reports: set[str] = set()  # they are small, and no candidate waits for them
    while True:
        found = jobs.step()
        reports |= {start.task for start in found.start if start.stage == "report"}
        assert len([job for job in jobs.jobs if not job.finished and job.task not in reports]) <= 2
        if found.outcome:
            return
        jobs.finish(world, found.start)


def test_a_report_takes_no_place_from_candidates_and_brings_the_experiment_as_it_is_now() -> None:
    jobs, world = Run(experiment(steps=2, candidates=2), Policy(parallelism=2)), World()
    found = jobs.step()
    while not any(start.stage == "report" for start in found.start):
        jobs.finish(world, found.start)
        found = jobs.step()
    assert [start.stage for start in found.start] == ["report", "score", "score"]
    assert found.start[0].orders.claim == jobs.x


def test_deciding_twice_starts_nothing_twice() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    assert jobs.decide().start == ()


def test_staged_scores_are_merged_in_one_job_and_scored_in_the_next_but_parents_are_not_merged() -> None:
    started = Run(experiment(steps=1), Policy(parallelism=2, execution="Staged")).all(World())
    merges = [start.orders.orders[0].id for start in started if start.part == "merge"]
    scored = [start.orders.orders[0].id for start in started if start.part == "evaluate"]
    assert merges and sorted(merges) == sorted(scored)
    parents = [start for start in started if start.stage == "score" and start.part == "all"]
    assert len(parents) == 4  # father and mother, on search rows and for the verdict


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


def test_suspension_ends_jobs_without_blame_and_resumption_makes_the_next_attempts() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    found = jobs.step(suspend=True)
    assert job_of(start, 0).name in found.remove
    assert found.start == ()
    assert jobs.step(suspend=True).remove == ()
    assert [one.attempt for one in jobs.step().start if one.stage == "mri"] == [2]


def test_a_job_is_deleted_only_when_its_result_is_in_the_ledger() -> None:
    jobs, world = Run(experiment()), World()
    start = jobs.until(world, "mri").start[0]
    jobs.finish(world, [start])
    found = jobs.decide()
    assert job_of(start, 0).name in found.remove
    assert start.orders.orders[0].id in found.ledger.results


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


def test_a_pod_on_a_lost_node_is_replaced() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    lost = SeenPod(name="p", uid="p", running_since=1.0, lost=True)
    jobs.jobs = tuple(job.model_copy(update={"pods": (lost,)}) for job in jobs.jobs)
    found = jobs.step()
    assert job_of(start, 0).name in found.remove
    assert [one.attempt for one in found.start if one.stage == "mri"] == [2]


def test_why_a_pod_does_not_start_is_told_in_the_apis_words_after_ten_seconds() -> None:
    jobs = Run(experiment())
    jobs.until(World(), "mri")
    jobs.jobs = tuple(job.model_copy(update={"refused": "exceeded quota: gpus"}) for job in jobs.jobs)
    assert jobs.step().halts == ()
    jobs.now += 10
    (halt,) = jobs.step().halts
    assert (halt.reason, halt.final) == ("PodRefused", False)
    assert "exceeded quota: gpus" in halt.message


def scaling(jobs: Run, words: str = "Unschedulable: 0/3 nodes are available") -> None:
    """The newest Pod of each Job has no node."""
    pod = SeenPod(name="p", uid="p", waits=words, unscheduled=True)
    jobs.jobs = tuple(job.model_copy(update={"pods": (pod,)}) for job in jobs.jobs)


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


def test_jobs_go_on_while_the_store_is_asked_after_the_ledger_was_lost() -> None:
    jobs = Run(experiment(), Policy(parallelism=1))
    start = jobs.until(World(), "mri").start[0]
    jobs.ledger = Ledger()
    found = jobs.step()
    assert found.remove == ()
    assert [one.verb for one in found.start] == ["recall"]
    assert job_of(start, 0).name in {job.name for job in jobs.jobs}


def test_a_finished_run_whose_steps_grow_goes_on_and_is_finished_again() -> None:
    jobs, world = Run(experiment(steps=1)), World()
    jobs.all(world)
    jobs.x = experiment(steps=2)
    started = jobs.all(world)
    inputs = [start.orders.orders[0].task.inputs for start in started if start.stage == "score"]
    assert 2 in {one.generation for one in inputs if isinstance(one, ScoreInputs)}
    assert started[-1].part == "finish"


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


def test_a_job_that_was_to_be_deleted_and_is_still_there_is_deleted() -> None:
    jobs = Run(experiment())
    start = jobs.until(World(), "mri").start[0]
    there = jobs.jobs
    jobs.step(suspend=True)
    jobs.jobs = there  # the API server didn't answer
    found = jobs.step()
    assert job_of(start, 0).name in found.remove
    assert [one.attempt for one in found.start if one.stage == "mri"] == [2]


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


def test_jobs_of_a_finished_run_go_after_their_time_and_the_rest_stays() -> None:
    jobs, world = Run(experiment(steps=1), Policy(parallelism=3, ttl=60.0)), World()
    start = jobs.until(world, "mri").start[0]
    jobs.end(job_of(start, 0), failed(ExitCode.INTERNAL), failed=True)
    jobs.now += jobs.step().again_in or 0
    jobs.all(world)
    kept = [job.name for job in jobs.jobs if job.failed]
    assert kept == [job_of(start, 0).name]
    jobs.now += 61
    assert jobs.step().remove == tuple(kept)


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


def test_a_finished_run_whose_steps_are_raised_goes_on_and_asks_for_its_children_anew() -> None:
    """Somebody may have tidied up the store since."""
    jobs = Run(experiment(steps=1))
    jobs.all(World())
    jobs.x, jobs.generation = with_steps(jobs.x, 2), 2
    found = jobs.step()
    stages = {r.summary.stage for r in found.ledger.results.values() if isinstance(r, Done)}
    assert "verdict" in stages
    assert stages.isdisjoint({"export", "health", "publish"})
    assert {(start.verb, start.stage) for start in found.start} == {("work", "score")}

"""What a run's status shows, along whole runs and at single looks."""

from typing import Any

import pytest
from hypothesis import given, settings

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done
from darwinmerge.search.genome import GENES
from darwinmerge_operator.decision import Decision, Halt, Policy
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.status import MESSAGE_LETTERS, RECENT, Status
from darwinmerge_operator.view import STARTED, condition, differs, read, refused, status_of
from darwinmerge_operator.waits import PENDING_SECONDS
from tests.clustered import longest_status
from tests.unit.decided import HOUR, failed, scaling
from tests.unit.looks import BETWEEN, Looks, running
from tests.unit.plan_world import (
    ANY_WORLDS,
    SEEDS,
    World,
    experiment,
    experiments,
    run,
    with_settings,
    with_steps,
)

DAY = 24 * HOUR
WIDE = World(grain=1e-9)  # no recipe comes twice


def finished(x: Experiment, world: World = WIDE) -> Looks:
    looks = Looks(x)
    looks.all(world)
    return looks


def at_mri() -> Looks:
    """A run whose MRI has just been started."""
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    return looks


def halted(*halts: Halt) -> Status:
    """What a run shows that was going on and is halted."""
    looks = at_mri()
    looks.step()
    return status_of(looks.seen(), Decision(ledger=looks.ledger, halts=halts), looks.status)


# Whole runs.


def test_a_run_goes_through_its_phases() -> None:
    phases = [status.phase for status in finished(experiment()).statuses]
    assert list(dict.fromkeys(phases)) == [
        *("Starting", "Resolving", "MRI", "Evolving", "Finals", "Verdict", "Publishing", "Complete"),
    ]
    assert phases == sorted(phases, key=list(dict.fromkeys(phases)).index), "and never back"


@settings(max_examples=30)
@given(experiments(), ANY_WORLDS, SEEDS)
def test_whatever_happens_it_never_goes_back_and_a_condition_keeps_its_time_as_long_as_its_status(
    x: Experiment, world: World, seed: int
) -> None:
    looks = Looks(x, Policy(parallelism=1 + seed % 4))
    for look in range(500):
        if look == seed % 50:
            looks.store, looks.ledger = dict(looks.ledger.results), Ledger()  # lost; the store is asked
        found = looks.step(suspend=look % 50 == seed % 7)
        if len(looks.statuses) > 1:
            never_back(looks.statuses[-2], looks.statuses[-1])
            times_are_kept(looks.statuses[-2], looks.statuses[-1])
        if found.outcome:
            return
        looks.now += found.again_in or 0
        looks.finish(world, found.start)
    raise AssertionError("no end")


def never_back(before: Status, now: Status) -> None:
    assert before.progress and now.progress
    assert now.progress.questions >= before.progress.questions
    assert now.progress.candidates >= before.progress.candidates
    assert (now.best.score if now.best else 0) >= (before.best.score if before.best else 0)
    for kind in ("MRIInformative", "Suspended", "Ready", "Complete", "Failed"):
        assert not condition(before, kind) or condition(now, kind)


def times_are_kept(before: Status, now: Status) -> None:
    for one in now.conditions:
        old = condition(before, one.type)
        assert one.observed_generation == now.observed_generation
        same = old is not None and old.status == one.status
        assert (old is not None and old.last_transition_time == one.last_transition_time) == same


@pytest.mark.parametrize(
    ("output", "world", "says"),
    [
        ("/child", World(label="Worse"), "; it stays in the store, since spec.output.publishIf is BeatsBoth"),
        ("/child", World(health="Fail"), "; it stays in the store, since its health check failed"),
        ("/child", World(label="ChildBeatsBoth"), " the plain average"),
        ("", World(label="Worse", health="Fail"), " the plain average"),
    ],
    ids=["verdict", "health", "published", "nowhere to go"],
)
def test_why_a_child_has_not_left_the_store_is_told_beside_its_verdict(output: str, world: World, says: str) -> None:
    looks = finished(with_settings(experiment(output=output), output={"publishIf": "BeatsBoth"}), world)
    complete = looks.condition("Complete")
    assert complete
    assert complete.message.endswith(says)
    assert looks.told[-1] == f"Completed: {complete.reason}: {complete.message}"


@settings(max_examples=20)
@given(experiments(), ANY_WORLDS)
def test_a_run_ends_complete_with_its_verdict_or_failed_with_its_reason(x: Experiment, world: World) -> None:
    looks = finished(x, world)
    outcome = run(x, world).outcome
    assert looks.says(outcome.kind) == ("True", outcome.reason)
    assert looks.says("Failed" if outcome.kind == "Complete" else "Complete") is None
    assert looks.says("Ready") == ("True", "Started")
    assert looks.status.phase == outcome.kind
    assert (looks.status.summary, looks.status.shown and looks.status.shown.eta) == ("/store/summary.json", "")


def test_a_run_is_not_complete_before_its_summary_is_written() -> None:
    looks = finished(experiment(steps=1))
    phases = [status.phase for status in looks.statuses]
    assert (phases[-2], looks.statuses[-2].summary) == ("Publishing", "")


def test_what_was_known_stands_while_a_lost_ledger_is_rebuilt() -> None:
    looks = finished(experiment(steps=1))
    whole, results = looks.status, looks.ledger.results
    looks.store, looks.ledger, looks.jobs = results, Ledger(), ()
    looks.step()
    assert not differs(whole, looks.status.model_copy(update={"image": whole.image}))


def test_it_stays_small_after_500_candidates_with_long_words() -> None:
    far = "s3://" + "b" * 63 + "/" + "p" * 950
    x = experiment(steps=11, candidates=48, finalists=16)
    x = x.model_copy(update={"where": x.where.model_copy(update={"store": far, "output": far})})
    world = World(grain=1e-9, rejects=0.3, elites=48)
    results = run(x, world, order=lambda flight: flight, workers=48).kept
    ledger = Ledger(results=results, image="i" * 512, retried_at="r" * 5000)
    wordy = {
        task: result.model_copy(update={"message": "é" * 5000}) if result.kind == "rejected" else result
        for task, result in ledger.results.items()
    }
    looks = Looks(x, ledger=ledger.model_copy(update={"results": wordy}), generation=2**31)
    halts = (Halt(reason="PendingDeadlineExceeded", message="é" * 100_000),)
    status = status_of(looks.seen(suspend=True), Decision(ledger=looks.ledger, halts=halts), longest_status())
    assert status.progress and status.progress.candidates > 500
    assert len(status.recent) == RECENT
    stalled = condition(status, "Stalled")
    assert stalled and len(stalled.message) == MESSAGE_LETTERS
    assert len(status.model_dump_json(by_alias=True).encode()) < 16_000
    assert len(status.last_handled_retry_at) == 256


# Conditions at single looks.


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


def newer(status: Status, **told: Any) -> dict[str, Any]:
    """A status as an operator of a later version may have left it."""
    return {**status.model_dump(mode="json", by_alias=True, exclude_none=True), **told}


def test_what_only_a_newer_operator_knows_is_left_out_of_a_status_and_the_rest_is_read() -> None:
    status = finished(experiment(steps=1)).status
    there = newer(status, future={"a": 1})
    there["best"]["future"] = there["conditions"][0]["future"] = "x"
    assert read(there) == status


@pytest.mark.parametrize("strange", [{"type": "Ready", "reason": "Warming"}, {"type": "Blessed", "reason": "Yes"}])
def test_a_condition_of_a_kind_or_reason_that_is_unknown_is_left_out_alone(strange: dict[str, str]) -> None:
    status = finished(experiment(steps=1)).status
    kept = tuple(one for one in status.conditions if one.type != "Ready")
    plain = status.model_copy(update={"conditions": kept})
    there = newer(plain)
    there["conditions"].append({"status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", **strange})
    assert read(there) == plain


def test_a_field_of_which_nothing_can_be_made_is_left_out_alone() -> None:
    status = finished(experiment(steps=1)).status
    there = newer(status)
    there["verdict"]["label"] = "BetterThanEver"
    assert read(there) == status.model_copy(update={"verdict": None})


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


# Figures.


def test_what_a_person_sees_in_the_middle_of_a_run() -> None:
    looks = Looks(experiment(steps=3, candidates=3), Policy(parallelism=1))
    while not (looks.statuses and looks.status.progress and looks.status.progress.candidates == 4):
        looks.finish(WIDE, looks.step().start)
    scores = [candidate.score for candidate in looks.status.recent if candidate.score]
    shown, parents = looks.status.shown, looks.status.parents
    assert shown and parents and parents.father and parents.mother
    assert (shown.gen, shown.evals, shown.best) == ("2/3", "4/9", f"{max(scores):.3f}")
    assert shown.vs_parents == f"{max(scores) - max(parents.father, parents.mother):+.3f}"


def test_the_verdict_stands_beside_both_parents_with_a_star_where_the_test_tells_them_apart() -> None:
    x = experiment(steps=1)
    better = {"difference": 0.12, "result": "Better"}
    same = {"difference": -0.0004, "result": "NotDifferent"}
    worse = {"difference": -0.031, "result": "Worse"}
    shown = [beside_parents_of(x, father, mother) for father, mother in ((better, same), (same, worse))]
    assert shown == ["+0.120*/+0.000", "+0.000/-0.031*"]


def beside_parents_of(x: Experiment, father: dict[str, Any], mother: dict[str, Any]) -> str:
    """What is shown of a run whose verdict says this."""
    results = dict(run(x, WIDE).results)
    (task, done), *_ = ((k, r) for k, r in results.items() if r.kind == "done" and r.summary.stage == "verdict")
    told = done.model_dump()
    told["summary"]["vs_father"] |= father
    told["summary"]["vs_mother"] |= mother
    looks = Looks(x, ledger=Ledger(results={**results, task: Done.model_validate(told)}))
    looks.step()
    assert looks.status.shown
    return looks.status.shown.vs_parents


def test_the_best_candidate_has_its_genes_by_name() -> None:
    looks = finished(experiment())
    best = looks.status.best
    assert best and tuple(best.genome) == GENES
    generation = walk(looks.x, looks.ledger.results).generations[best.generation - 1]
    assert tuple(best.genome.values()) == generation.genomes[best.index].values()


def test_recent_candidates_are_the_last_ten_newest_first() -> None:
    looks = Looks(experiment(steps=4, candidates=4), Policy(parallelism=1))
    looks.all(World(grain=1e-9, rejects=0.3))
    came = [(g, i) for g in range(1, 5) for i in range(4)]
    assert [(one.generation, one.index) for one in looks.status.recent] == came[::-1][:RECENT]
    assert all((one.score is None) == one.rejected.startswith("NonFiniteScores: ") for one in looks.status.recent)
    assert {bool(one.rejected) for one in looks.status.recent} == {True, False}


@pytest.mark.parametrize(("output", "uri"), [("", "/store/children/"), ("s3://out/child/", "s3://out/child")])
def test_the_child_is_where_it_was_published_or_in_the_store(output: str, uri: str) -> None:
    looks = finished(experiment(steps=1, output=output))
    child = looks.status.child
    assert child
    assert child.uri == (uri if output else uri + child.recipe[:16])
    places = [status.child.uri for status in looks.statuses if status.child]
    assert places[0].startswith("/store/children/"), "before it is published"


@pytest.mark.parametrize(
    ("now", "active", "eta"),
    [
        (DAY + 14 * HOUR, 600.0, "14:15Z"),
        (DAY + 14 * HOUR, 601.0, "14:20Z"),  # rounded up to five minutes
        (DAY + 14 * HOUR, 30 * HOUR, "01-04 11:00Z"),
        (DAY + 14 * HOUR, 0.0, ""),  # nothing has run: all was in the store
    ],
)
def test_the_time_of_the_end_is_told_in_utc(now: float, active: float, eta: str) -> None:
    looks = on_the_way(active)
    looks.now = now
    looks.step()
    assert looks.status.shown and looks.status.shown.eta == eta


def on_the_way(active: float) -> Looks:
    """A run that has asked 240 of its 600 questions in `active` seconds."""
    looks = Looks(experiment(steps=2, candidates=3, finalists=1), Policy(parallelism=1))
    started = looks.step().start
    while not looks.status.progress or looks.status.progress.questions < 240:
        looks.finish(WIDE, started)
        started = looks.step().start
    looks.ledger = looks.ledger.model_copy(update={"active_seconds": active})
    return looks


@pytest.mark.parametrize("hold", [{"suspend": True}, {"active_deadline": 1.0}])
def test_a_run_that_stands_still_has_no_time_of_its_end(hold: dict[str, Any]) -> None:
    looks = on_the_way(600.0)
    looks.step(**hold)
    assert looks.status.shown and looks.status.shown.eta == ""


def test_seconds_with_a_pod_running_are_counted_up_to_now() -> None:
    looks = at_mri()
    looks.with_jobs(pods=running(looks.now))
    looks.step()
    looks.step()
    assert looks.status.active_seconds == BETWEEN


# What is read and written.


def test_time_alone_is_not_worth_writing() -> None:
    looks = on_the_way(600.0)
    looks.with_jobs(pods=running(looks.now))
    looks.step()
    first = looks.status
    looks.now += HOUR
    looks.step()
    assert first.active_seconds != looks.status.active_seconds
    assert first.shown != looks.status.shown
    assert not differs(first, looks.status)


@pytest.mark.parametrize("name", sorted(set(Status.model_fields) - {"active_seconds", "shown"}))
def test_anything_else_is(name: str) -> None:
    status = longest_status()
    assert differs(status, status.model_copy(update={name: Status.model_fields[name].get_default()}))


def test_the_first_status_is_worth_writing() -> None:
    assert differs(None, Status())


@pytest.mark.parametrize("found", [None, {"phase": 5}, {"colour": "red"}])
def test_a_status_that_cannot_be_read_is_none(found: Any) -> None:
    assert read(found) is None


def test_the_status_that_the_server_gives_a_new_object_can_be_read() -> None:
    assert read({"observedGeneration": -1}) == Status()


def test_a_finished_run_whose_steps_are_raised_is_complete_no_more() -> None:
    """Else it would be taken for settled, and left alone."""
    looks = finished(experiment(steps=1))
    looks.x, looks.generation = with_steps(looks.x, 2), 2
    looks.step()
    assert looks.says("Complete") is None
    assert looks.status.observed_generation == 2

"""What a run's status shows, along whole runs."""

import pytest
from hypothesis import given, settings

from darwinmerge.experiment.experiment import Experiment
from darwinmerge_operator.decision import Decision, Halt, Policy
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.status import MESSAGE_LETTERS, RECENT, Status
from darwinmerge_operator.view import condition, differs, status_of
from tests.clustered import longest_status
from tests.unit.looks import Looks, finished
from tests.unit.plan_world import ANY_WORLDS, SEEDS, World, experiment, experiments, run, with_settings, with_steps


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


def test_a_finished_run_whose_steps_are_raised_is_complete_no_more() -> None:
    """Else it would be taken for settled, and left alone."""
    looks = finished(experiment(steps=1))
    looks.x, looks.generation = with_steps(looks.x, 2), 2
    looks.step()
    assert looks.says("Complete") is None
    assert looks.status.observed_generation == 2

"""What is told of a run: the story, each thing once, and never a flood."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment
from darwinmerge_operator.decision import Decision, Halt, Policy
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.status import Status
from darwinmerge_operator.tell import Event, events_of, manifest
from darwinmerge_operator.view import status_of
from tests.unit.decided import failed
from tests.unit.looks import Looks, running
from tests.unit.plan_world import ANY_WORLDS, World, experiment, experiments, run

WIDE = World(grain=1e-9)  # no recipe comes twice
RUN = {
    "apiVersion": "darwinmerge.io/v1alpha1",
    "kind": "DarwinMerge",
    "metadata": {"name": "tiny", "namespace": "models", "uid": "0001", "resourceVersion": "5"},
}


def finished(x: Experiment, world: World = WIDE) -> Looks:
    looks = Looks(x, Policy(parallelism=1))
    looks.all(world)
    return looks


def reasons(looks: Looks) -> list[str]:
    return [event.reason for look in looks.events for event in look]


def halted(*halts: Halt, before: Status | None = None) -> tuple[Status, tuple[Event, ...]]:
    """A run that is halted: what it shows, and what is told of it."""
    looks = Looks(experiment())
    seen, decision = looks.seen(), Decision(ledger=Ledger(), halts=halts)
    status = status_of(seen, decision, before)
    return status, events_of(before, status, seen, decision)


# The story.


def test_a_whole_run_is_a_story() -> None:
    looks = finished(experiment(steps=2, candidates=2), World(grain=1e-9, parents="c"))
    told = [words for words in looks.told if not words.startswith("NewBest")]
    number = r"[+-]\d\.\d{3}"
    patterns = (
        "Accepted: steps: 2, candidates: 2 each",
        "MRICompleted: NotInformative: the prescriptions' spread over tensors is 0.00041: .*",
        rf"GenerationCompleted: generation 1/2: best 0\.\d+, {number} over the better parent",
        rf"GenerationCompleted: generation 2/2: best 0\.\d+, {number} over the better parent, "
        rf"{number} over the generation before",
        r"Completed: \w+: the child .*",
    )
    for words, pattern in zip(told, patterns, strict=True):
        assert re.fullmatch(pattern, words)


def test_a_generation_that_found_a_new_best_says_which() -> None:
    looks = finished(experiment(steps=6, candidates=4))
    ended = [status.best for status in looks.statuses if status.best and status.progress.candidates % 4 == 0]  # type: ignore[union-attr]
    bests = list(dict.fromkeys((best.generation, best.index, best.score) for best in ended))
    assert 1 < len(bests) < 6
    told = [words for words in looks.told if words.startswith("NewBest")]
    for words, (generation, index, score) in zip(told, bests, strict=True):
        assert words.startswith(f"NewBest: generation {generation}, candidate {index + 1}: {score:.3f}")


def test_each_rejected_candidate_is_told_with_its_reason() -> None:
    looks = finished(experiment(steps=3, candidates=4), World(grain=1e-9, rejects=0.4))
    assert looks.status.progress and looks.status.progress.rejected > 1
    told = [words for words in looks.told if words.startswith("CandidateRejected")]
    assert len(told) == looks.status.progress.rejected
    assert all(re.match(r"CandidateRejected: generation \d, candidate \d: NonFiniteScores: ", words) for words in told)


def test_a_generation_of_which_all_were_rejected_has_no_best() -> None:
    looks = finished(experiment(steps=1), World(rejects=1.0))
    assert "GenerationCompleted: generation 1/1: every candidate was rejected" in looks.told
    assert looks.told[-1] == f"Failed: NoCandidate: {looks.condition('Failed').message}"  # type: ignore[union-attr]


def test_suspension_and_resumption_are_told_each_time() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    for generation, suspend in enumerate((True, True, False, False, True, False), 2):
        looks.generation = generation
        looks.step(suspend=suspend)
    assert [words for words in reasons(looks) if words in ("Suspended", "Resumed")] == ["Suspended", "Resumed"] * 2
    assert len(names(looks)) == len(reasons(looks)), "and none takes another's name"


def test_a_queue_is_told_and_its_end() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    looks.with_jobs(suspended=True)
    looks.now += 60
    looks.step()
    looks.step()
    looks.with_jobs(suspended=False, pods=running(looks.now))
    looks.step()
    assert reasons(looks)[-2:] == ["Queued", "Resumed"]


def test_a_stall_is_told_once_and_again_when_it_has_another_reason() -> None:
    quota = Halt(reason="PodRefused", message="exceeded quota: gpus")
    status, events = halted(quota)
    assert events[-1] == Event(reason="Stalled", message="PodRefused: exceeded quota: gpus", mark=events[-1].mark)
    assert halted(quota, before=status)[1] == ()
    counted = Halt(reason="PodRefused", message="exceeded quota: gpus, used: 3")
    assert halted(counted, before=status)[1] == (), "counts come and go"
    other = halted(Halt(reason="JobRefused", message="other"), before=status)[1]
    assert [event.reason for event in other] == ["Stalled"]


def test_a_stall_that_comes_back_after_a_retry_is_told_again() -> None:
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    for retry in ("", "first"):
        looks.retry = retry
        started = looks.step().start
        looks.end(looks.jobs[-1], failed(ExitCode.BAD_INPUT), failed=True)
        looks.step()
        assert started or not retry
    told = [event for look in looks.events for event in look if event.reason == "Stalled"]
    assert [event.message for event in told] == ["BadInput: mri: it ended with BAD_INPUT"] * 2
    assert len({manifest(event, RUN, 0)["metadata"]["name"] for event in told}) == 2


# Once, and not too much.


def names(looks: Looks) -> set[str]:
    events = (event for look in looks.events for event in look)
    return {manifest(event, RUN, looks.now)["metadata"]["name"] for event in events}


@settings(max_examples=25)
@given(experiments(), ANY_WORLDS)
def test_along_any_run_every_event_has_a_name_of_its_own(x: Experiment, world: World) -> None:
    looks = finished(x, world)
    assert len(names(looks)) == len(reasons(looks))
    once = Counter(reasons(looks))
    assert {once[reason] for reason in ("Accepted", "Completed", "Failed")} <= {0, 1}
    assert once["Completed"] + once["Failed"] == 1


@settings(max_examples=25)
@given(experiments(), ANY_WORLDS)
def test_a_first_look_at_a_run_that_is_far_tells_at_most_one_of_each_kind(x: Experiment, world: World) -> None:
    looks = Looks(x, ledger=Ledger(results=run(x, world).kept, finished=True))
    looks.step()
    assert max(Counter(reasons(looks)).values()) == 1
    assert reasons(looks)[0] == "Accepted"
    assert reasons(looks)[-1] in ("Completed", "Failed")


def test_what_is_told_again_after_a_crash_has_the_same_name() -> None:
    looks = Looks(experiment(steps=1), Policy(parallelism=1))
    while not looks.statuses or not looks.events[-1] or looks.events[-1][-1].reason != "Completed":
        before, at = looks.before, looks.now
        found = looks.step()
        looks.finish(WIDE, found.start)
    later = looks.seen().model_copy(update={"now": at + 3600})
    status = status_of(later, found, before)
    again = events_of(before, status, later, found)
    assert [manifest(event, RUN, at)["metadata"]["name"] for event in again] == [
        manifest(event, RUN, at + 3600)["metadata"]["name"] for event in looks.events[-1]
    ]


def test_nothing_is_told_twice_after_the_ledger_was_lost() -> None:
    looks = finished(experiment(steps=2), World(grain=1e-9, rejects=0.2))
    told = len(reasons(looks))
    looks.store, looks.ledger, looks.jobs = looks.ledger.results, Ledger(), ()
    looks.all(World(grain=1e-9, rejects=0.2))
    assert reasons(looks)[told:] == []


# What is posted.


def test_an_event_is_about_its_run() -> None:
    posted = manifest(Event(reason="Accepted", message="three"), RUN, 60.0)
    assert re.fullmatch(r"tiny\.[0-9a-f]{16}", posted["metadata"]["name"])
    assert posted["metadata"]["namespace"] == "models"
    assert posted["involvedObject"] == {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "namespace": "models",
        "name": "tiny",
        "uid": "0001",
    }
    assert (posted["source"], posted["reportingComponent"]) == ({"component": "darwin-operator"}, "darwin-operator")
    assert (posted["firstTimestamp"], posted["lastTimestamp"], posted["count"]) == ("1970-01-01T00:01:00Z",) * 2 + (1,)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("Accepted", "Normal"), ("Completed", "Normal"), ("Stalled", "Warning"), ("Failed", "Warning")],
)
def test_what_needs_a_look_is_a_warning(reason: Any, kind: str) -> None:
    assert manifest(Event(reason=reason, message=""), RUN, 0)["type"] == kind


def test_runs_of_one_name_one_after_the_other_have_events_of_their_own() -> None:
    event = Event(reason="Accepted", message="three")
    other = {**RUN, "metadata": {**RUN["metadata"], "uid": "0002"}}  # type: ignore[dict-item]
    assert manifest(event, RUN, 0)["metadata"]["name"] != manifest(event, other, 0)["metadata"]["name"]


def test_a_message_is_no_longer_than_an_api_server_takes() -> None:
    assert len(manifest(Event(reason="Stalled", message="x" * 5000), RUN, 0)["message"]) == 1024

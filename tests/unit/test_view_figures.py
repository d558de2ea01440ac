"""The figures that a person sees of a run: how far it is, scores beside the parents', and when it will end."""

from typing import Any

import pytest

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done
from darwinmerge.search.genome import GENES
from darwinmerge_operator.decision import Policy
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.status import RECENT
from tests.unit.decided import HOUR
from tests.unit.looks import BETWEEN, WIDE, Looks, at_mri, finished, on_the_way, running
from tests.unit.plan_world import World, experiment, run

DAY = 24 * HOUR


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

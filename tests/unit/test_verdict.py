"""The verdict names what the comparisons with the parents say, and grows stricter with every look."""

import threading
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from darwinmerge.canonical import digest
from darwinmerge.errors import BadInput
from darwinmerge.evaluation.answers import Answers, TaskAnswers
from darwinmerge.evaluation.task import verdict
from darwinmerge.evaluation.verdict import compare, label
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import Against, Comparison, Done, Label, VerdictSummary
from darwinmerge.pipeline.tasks import REVISIONS, Task, VerdictInputs
from darwinmerge.pipeline.worker import perform
from darwinmerge.store import FileStore, layout
from tests.build import outcomes

LABELS = {
    ("Better", "Better"): "ChildBeatsBoth",
    ("Better", "NotDifferent"): "BeatsFather",
    ("NotDifferent", "Better"): "BeatsMother",
    ("NotDifferent", "NotDifferent"): "NoSignificantDifference",
    ("Worse", "Better"): "Worse",
    ("Better", "Worse"): "Worse",
    ("Worse", "NotDifferent"): "Worse",
    ("NotDifferent", "Worse"): "Worse",
    ("Worse", "Worse"): "Worse",
}


def comparison(result: Against) -> Comparison:
    return Comparison(difference=0.0, low=0.0, high=0.0, p=1.0, result=result)


@pytest.mark.parametrize(("results", "wanted"), LABELS.items())
def test_the_label_follows_from_both_parents(results: tuple[Against, Against], wanted: str) -> None:
    father, mother = (comparison(result) for result in results)
    assert label({"father": father, "mother": mother, "linear": comparison("Worse")}) == wanted


def test_every_label_and_every_pair_is_in_the_table() -> None:
    assert set(LABELS.values()) == set(get_args(Label))
    assert len(LABELS) == len(get_args(Against)) ** 2


def beside(wins: int, losses: int, alpha: float = 0.05) -> Comparison:
    """A child that alone answers `wins` questions beside a model that alone answers `losses`, of 200."""
    difference = outcomes(wins, losses, 200 - wins - losses)
    return compare([np.maximum(difference, 0)], [np.maximum(-difference, 0)], [1.0], alpha, 0)


@pytest.mark.parametrize(
    ("wins", "losses", "result"),
    [(40, 15, "Better"), (15, 40, "Worse"), (30, 25, "NotDifferent"), (0, 0, "NotDifferent")],
)
def test_a_difference_counts_where_the_test_says_so(wins: int, losses: int, result: str) -> None:
    found = beside(wins, losses)
    assert found.result == result
    assert found.difference == pytest.approx((wins - losses) / 200)
    assert found.low <= found.difference <= found.high


def test_a_p_that_equals_the_level_is_a_difference() -> None:
    p = beside(20, 8).p
    assert beside(20, 8, p).result == "Better"
    assert beside(20, 8, p * 0.999).result == "NotDifferent"


# ---- as a stage: from stored answers to a summary


def stored(store: FileStore, name: str, right: int, **env: str) -> str:
    """Answers of a model that gets the first `right` of 200 questions right; their digest."""
    values = tuple(float(i < right) for i in range(200))
    rows = tuple(f"row {i}" for i in range(200))
    task = TaskAnswers(task="t", metric="acc,none", weight=1.0, higher_is_better=True, rows=rows, values=values)
    answers = Answers(recipe=name, sets=("verdict",), env={"device": "cpu", **env}, tasks=(task,))
    store.create(layout.answers(digest(answers)), answers.model_dump_json().encode())
    return digest(answers)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    where = Bindings(father="", mother="", store=str(tmp_path))
    return Place(where, FileStore(tmp_path), threading.Event(), lambda done, total: None)


def inputs(place: Place, right: int = 110, **env: str) -> VerdictInputs:
    """A child with 110 right answers beside models with 102, 60 and 109."""
    rights = {"child": right, "father": 102, "mother": 60}
    answers = {name: stored(place.store, name, right) for name, right in rights.items()}  # type: ignore[arg-type]
    linear = stored(place.store, "linear", 109, **env)  # type: ignore[arg-type]
    return VerdictInputs(**answers, linear=linear, alpha=0.05)


def test_the_summary_compares_the_child_with_both_parents_and_the_plain_average(place: Place) -> None:
    found, _ = verdict(inputs(place), 0, place)
    assert found.label == "ChildBeatsBoth"
    assert found.n == 200
    assert found.vs_father.difference == pytest.approx(8 / 200)
    assert found.vs_mother.difference == pytest.approx(50 / 200)
    assert found.vs_linear.difference == pytest.approx(1 / 200)
    assert found.vs_linear.result == "NotDifferent"


def judged(place: Place, right: int) -> VerdictSummary:
    """The verdict on a child, which the store remembers."""
    task = Task(revision=REVISIONS["verdict"], seed=0, inputs=inputs(place, right))
    found = perform(task, task.id, place, last_try=False)
    assert isinstance(found, Done) and isinstance(found.summary, VerdictSummary)
    return found.summary


def test_every_further_look_at_the_rows_with_another_child_halves_the_level(place: Place) -> None:
    found = [judged(place, right) for right in (110, 111, 112, 113)]
    assert [one.looks for one in found] == [1, 2, 3, 4]
    assert [one.alpha for one in found] == pytest.approx([0.05, 0.025, 0.0125, 0.00625])


def test_the_same_child_again_is_no_further_look(place: Place) -> None:
    first = judged(place, 110)
    judged(place, 111)
    assert judged(place, 110) == first


def test_how_often_the_rows_were_looked_at_is_known_to_the_store_and_to_no_driver(place: Place) -> None:
    """Another process, which has seen none of the verdicts before."""
    judged(place, 110)
    other = Place(place.where, place.store, threading.Event(), lambda done, total: None)
    assert judged(other, 111).looks == 2


def test_what_a_first_look_calls_better_a_fourth_may_not(place: Place) -> None:
    """Eight questions won and none lost have p = 2 / 2**8, between 0.05 / 8 and 0.05."""
    first, _ = verdict(inputs(place), 0, place)
    for right in (111, 112, 113):
        judged(place, right)
    fourth, _ = verdict(inputs(place), 0, place)
    assert first.vs_father.p == fourth.vs_father.p == 2 / 2**8
    assert (first.label, fourth.label) == ("ChildBeatsBoth", "BeatsMother")


def test_scores_of_two_environments_are_never_compared(place: Place) -> None:
    with pytest.raises(BadInput, match="child and linear were scored in different environments"):
        verdict(inputs(place, device="cuda"), 0, place)


def test_answers_that_were_changed_are_refused(place: Place, tmp_path: Path) -> None:
    given = inputs(place)
    path = tmp_path / layout.answers(given.father)
    path.write_text(path.read_text().replace("1.0", "0.0", 1))
    with pytest.raises(BadInput, match="was changed"):
        verdict(given, 0, place)

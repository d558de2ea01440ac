"""A model's metric on every question: what scores are means of, and what the verdict compares."""

import numpy as np

from darwinmerge.evaluation.statistics import Values
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.tasks import RowSet
from darwinmerge.store import Store, fetch_known, layout


class TaskAnswers(Frozen):
    """One task's part of a model's answers."""

    task: str
    metric: str
    weight: float  # in the score and in the verdict
    higher_is_better: bool
    rows: tuple[str, ...]  # content hashes, in the order asked
    values: tuple[float, ...]  # the metric of each


class Answers(Frozen):
    """A model's metric on every question, by task in the manifest's order."""

    recipe: str
    sets: tuple[RowSet, ...]
    env: dict[str, str]
    tasks: tuple[TaskAnswers, ...]

    @property
    def weights(self) -> list[float]:
        """Of the tasks, in order."""
        return [task.weight for task in self.tasks]

    def oriented(self) -> list[Values]:
        """The metric a task, question by question, turned so that higher is better."""
        return [np.array(t.values) if t.higher_is_better else 1 - np.array(t.values) for t in self.tasks]


def read_answers(store: Store, expected: str) -> Answers:
    """A model's answers by their digest.

    Raises:
        BadInput: they are gone, or were changed.
    """
    return fetch_known(store, layout.answers(expected), Answers, expected)

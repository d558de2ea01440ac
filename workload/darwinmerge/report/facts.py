"""All that the report tells, read from the store once: the sections and figures of the page are functions of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from darwinmerge.evaluation.answers import Answers, read_answers
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.health.compare import HealthTable
from darwinmerge.mri.table import TensorRow, from_parquet
from darwinmerge.pipeline.known import Results, Walk
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Candidate, Done, ReportSummary
from darwinmerge.report.state import State, costs_of, state_of
from darwinmerge.report.summary import RunSummary, build
from darwinmerge.store import Store, fetch, fetch_known, layout

NAMES = {"father": "Father", "mother": "Mother", "linear": "plain average", "child": "child", "base": "base"}
REFERENCES = ("father", "mother", "linear")


@dataclass(frozen=True)
class Facts:
    """A run as far as it is."""

    experiment: Experiment
    seen: Walk
    state: State
    summary: RunSummary
    table: tuple[TensorRow, ...]  # the MRI; empty as long as there is none
    health: HealthTable | None
    answers: Mapping[str, Answers]  # on verdict rows, by model

    @property
    def best(self) -> Candidate | None:
        """The candidate that stands out: on search rows as long as there is no winner, which the finalists decide."""
        return self.state.best.candidate if self.state.best else None

    @property
    def rank(self) -> str:
        """What that candidate is."""
        return "the winner" if self.summary.winner else "the best so far"

    @property
    def scale(self) -> tuple[float, float] | None:
        """The best known score on search rows, and half the width of its 95 % interval: how far one score is sure."""
        known = [(m.search_score, m.search_interval) for m in self.summary.models if m.search_score is not None]
        if not known:
            return None
        score, interval = max(known, key=lambda pair: pair[0] or 0.0)
        assert score is not None and interval is not None
        return score, (interval[1] - interval[0]) / 2


def gather(experiment: Experiment, results: Results, store: Store) -> Facts:
    """What the results say, and the store's objects that they refer to.

    Raises:
        BadInput: one of those objects is gone, or damaged.
    """
    seen, costs = _drawn(experiment, results), costs_of(store)
    table, health = seen.mri and seen.mri.table, seen.health and seen.health.table
    return Facts(
        experiment=experiment,
        seen=seen,
        state=state_of(experiment, seen, store.uri, costs),
        summary=build(experiment, seen, store, costs),
        table=from_parquet(fetch(store, layout.table(table)), table) if table else (),
        health=fetch_known(store, layout.health(health), HealthTable, health) if health else None,
        answers={name: read_answers(store, found.answers) for name, found in seen.verdicts.items()},
    )


def _drawn(experiment: Experiment, results: Results) -> Walk:
    """The run as if the reports that are due were drawn: one that waits for its report has ended."""
    seen = walk(experiment, results)
    due = [task.id for task in seen.ready if task.stage == "report"]
    drawn = {task: Done(task=task, summary=ReportSummary()) for task in due}
    return walk(experiment, {**results, **drawn}) if due else seen

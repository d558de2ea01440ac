"""What the example's verdict can be expected to see, foreseen from rows that the verdict never uses.

A run scores parents and average on search rows only. Here they are asked the finalists' fresh rows too, which chose
among three children and not among twelve, so that they flatter the winner less. The run's store is copied first: what
is asked here is no part of the run.
"""

import argparse
import itertools
import math
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from darwinmerge.evaluation.answers import read_answers
from darwinmerge.evaluation.statistics import Values, foreseen_power, weighted_mean
from darwinmerge.pipeline.claim import held, noted
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done, ScoreSummary
from darwinmerge.pipeline.tasks import (
    REVISIONS,
    ChildModel,
    FatherModel,
    LinearModel,
    Model,
    MotherModel,
    ScoreInputs,
    Task,
    mixing_of,
    terms_of,
)
from darwinmerge.pipeline.worker import perform
from darwinmerge.store import FileStore

RUN = Path(__file__).resolve().parents[2] / "runs" / "smollm2"


def main() -> None:
    """Ask what is missing, and print what each set of rows foresees."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("store", type=Path, nargs="?", default=RUN, help="of a finished run (default: runs/smollm2)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "store"
        shutil.copytree(given.store, copy, ignore=shutil.ignore_patterns("children"))
        foresee(FileStore(copy))


def foresee(store: FileStore) -> None:
    """Print, for each set of development rows, what the child's differences are and what they foresee."""
    experiment = noted(store)
    spec, seen = experiment.spec, walk(experiment, held(experiment, store))
    assert seen.resolved and seen.rows and seen.mri and seen.winner and seen.winner.candidate, "the run isn't finished"
    place = Place(experiment.where, store, threading.Event(), lambda done, total: None)
    models: dict[str, Model] = {
        "child": ChildModel(genome=seen.winner.candidate.genome),
        "Father": FatherModel(),
        "Mother": MotherModel(),
        "plain average": LinearModel(),
    }
    answers = {}
    for name, model in models.items():
        inputs = ScoreInputs(
            pins=seen.resolved.pins,
            table=seen.mri.table,
            rows=seen.rows.rows,
            sets=("search", "fresh"),
            mixing=mixing_of(spec),
            terms=terms_of(spec),
            model=model,
        )
        task = Task(revision=REVISIONS["score"], seed=spec.seed, inputs=inputs)
        result = perform(task, task.id, place, last_try=True)
        assert isinstance(result, Done) and isinstance(result.summary, ScoreSummary), result
        answers[name] = read_answers(store, result.summary.answers).oriented()
    child = answers.pop("child")
    weights = [task.weight for task in spec.evaluation.tasks]
    rows, alpha = [count.verdict for count in seen.rows.counts], spec.evaluation.alpha
    sets = {
        "search": [slice(0, count.search) for count in seen.rows.counts],
        "fresh": [slice(count.search, None) for count in seen.rows.counts],
        "both": [slice(0, None) for _ in seen.rows.counts],
    }
    for name, other in answers.items():
        for chosen, parts in sets.items():
            differences = [(a - b)[part] for a, b, part in zip(child, other, parts, strict=True)]
            changed = ", ".join(f"{(d != 0).mean():.3f}" for d in differences)
            print(
                f"{name:14}{chosen:7}{weighted_mean(differences, weights):+.3f}  changed {changed}  "
                f"power {foreseen_power(differences, weights, rows, alpha):.3f}  "
                f"for 90 %: {_needed(differences, weights, rows, alpha)} questions"
            )


def _needed(differences: Sequence[Values], weights: Sequence[float], rows: Sequence[int], alpha: float) -> str:
    """Questions in all, divided among the tasks as `rows` are, for 90 % power."""
    if weighted_mean(differences, weights) == 0:
        return "no number of"
    for total in itertools.count(len(rows)):
        if foreseen_power(differences, weights, [math.ceil(total * n / sum(rows)) for n in rows], alpha) >= 0.9:
            return f"{total}"
    raise AssertionError


if __name__ == "__main__":
    main()

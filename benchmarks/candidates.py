"""Candidates of the SmolLM2 pair, one after the other in one process, as a worker does them; how long each part took.

Prints a JSON object: what was asked, and the candidates, each with what changed since the one before it, and seconds of
becoming it (merge, and placing the weights), of asking it the questions, and of all else that its task takes (recipe,
store, logs). The first candidate is not told: it loads the model, and compiles.
"""

import argparse
import json
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any

from darwinmerge.evaluation.questions import Questions
from darwinmerge.evaluation.resident import Resident
from darwinmerge.evaluation.rows import RowSets
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import check
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.pipeline.claim import claim
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done
from darwinmerge.pipeline.tasks import REVISIONS, ChildModel, ScoreInputs, Task
from darwinmerge.pipeline.worker import perform
from darwinmerge.search.genome import Genome
from darwinmerge.store import fetch_model, layout, open_store

TASK, QUESTIONS = "darwin_geo", 100
ALL, ONE = "all genes", "one gene"
CHANGES = (ALL, ALL, ONE, ALL, ONE, ALL, ONE)  # from each candidate to the next
GENES = ("attn", "ffn")  # of which one changes


@dataclass
class Clock:
    """Seconds spent in functions that it was set on."""

    seconds: dict[str, float] = field(default_factory=dict)

    def on(self, kind: type, name: str) -> None:
        """Time a method of a class from now on."""
        timed: Callable[..., Any] = getattr(kind, name)

        @wraps(timed)
        def run(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return timed(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - started

        setattr(kind, name, run)


def pair_of(parents: Path, work: Path, base: bool) -> Experiment:
    """The pair as an experiment, with a base or without, whose store is `work`."""
    family = ("father", "mother", *(["base"] if base else []))
    spec = {
        "parents": {who: {"uri": str(parents / who)} for who in family},
        "evaluation": {
            "taskFolder": str(Path(__file__).resolve().parents[1] / "examples" / "smollm2" / "tasks"),
            "tasks": [{"name": TASK, "groupBy": "country", "search": {"rows": QUESTIONS}, "verdict": {"rows": 100}}],
        },
        "store": {"uri": str(work)},
        "seed": 1,
    }
    document = {"apiVersion": "darwinmerge.io/v1alpha1", "kind": "DarwinMerge", "metadata": {"name": "overhead"}}
    return experiment_of(check({**document, "spec": spec}, "overhead", Manifest), work)


def genomes(base: bool) -> list[tuple[str, Genome]]:
    """Candidates, and what each changes of the one before it; with a base both parents' task vectors are masked."""
    rng = random.Random(1)

    def dealt() -> Genome:
        drawn = [rng.uniform(0.2, 0.8) for _ in range(4)]
        return Genome.of((*drawn, rng.uniform(0.5, 0.95) if base else 1.0, rng.uniform(0.5, 0.95)))

    found = [(ALL, dealt())]
    for number, change in enumerate(CHANGES):
        last = found[-1][1]
        one = {GENES[number % 2]: rng.uniform(0.2, 0.8)}
        found.append((change, last.model_copy(update=one) if change == ONE else dealt()))
    return found


def main() -> None:
    """Score the candidates, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--parents", type=Path, required=True, help="folder with father/, mother/ and base/")
    parser.add_argument("--base", action="store_true", help="merge with the base: DareTies in full")
    parser.add_argument("--work", type=Path, required=True, help="a store that isn't there yet")
    given = parser.parse_args()
    clock = Clock()
    clock.on(Resident, "become")
    clock.on(Questions, "ask")
    x = pair_of(given.parents.resolve(), given.work.resolve(), given.base)
    store = open_store(x.where.store)
    place = Place(x.where, store, threading.Event(), lambda done, total: None)
    results = claim(x, store)
    seen = walk(x, results)
    while all(task.stage != "score" for task in seen.ready):
        results |= {task.id: perform(task, task.id, place, last_try=False) for task in seen.ready}
        seen = walk(x, results)
    scoring = next(task.inputs for task in seen.ready if isinstance(task.inputs, ScoreInputs))
    told = []
    for number, (change, genome) in enumerate(genomes(given.base)):
        generation = {"generation": number + 1, "index": 1, "genomes": (genome,)}
        inputs = scoring.model_copy(update={"model": ChildModel(genome=genome), **generation})
        task, started = Task(revision=REVISIONS["score"], seed=x.spec.seed, inputs=inputs), perf_counter()
        clock.seconds.clear()
        result = perform(task, task.id, place, last_try=False)
        seconds = perf_counter() - started
        assert isinstance(result, Done)
        become, ask = clock.seconds["become"], clock.seconds["ask"]
        told.append({"changed": change, "become": become, "ask": ask, "rest": seconds - become - ask})
        print(f"{change}: {json.dumps(told[-1])}", file=sys.stderr, flush=True)
    rows = fetch_model(store, layout.rows(scoring.rows), RowSets)
    positions = [row.position for row in rows.tasks[0].search]
    asked = {"task": TASK, "positions": positions, "threads": scoring.terms.threads}
    print(json.dumps({"candidates": told[1:], **asked}))


if __name__ == "__main__":
    main()

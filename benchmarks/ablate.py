"""What each part of the method is worth on one small pair: whole runs, one part changed at a time, five seeds each.

The runs are the product's own, stage by stage, in one process: the plan says what is next and the worker does it, so
a child costs a fraction of a second. They end with the verdict: no child is written. What a run has scored stays in
its store under `build/ablate`, so that an ablation that was stopped goes on where it was.
"""

import argparse
import json
import os
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arms import ARMS, BUDGET, CANDIDATES, GENERATIONS, SEEDS, Arm, Outcome, dealt, tables
from common import RESULTS, ROOT, commit, machine, versions
from rich.console import Console
from rich.progress import track

from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import check
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.pipeline.claim import claim
from darwinmerge.pipeline.known import Walk
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Done, Result, SearchSummary
from darwinmerge.pipeline.worker import perform
from darwinmerge.store import open_store

MATERIAL = "DARWIN_TEST_MATERIAL"
SKILLS = ("skill_a", "skill_b")
ROWS = {"search": {"rows": 120, "fresh": 60}, "verdict": {"rows": 200}}  # of the 400 of each skill; seeds divide them
NEEDED = {"resolve", "rows", "mri", "search", "score", "verdict"}  # stages; the others do something with the child
PAGE = ROOT / "docs" / "ablations.md"
MARKS = "<!-- ablations -->\n", "<!-- /ablations -->"


def main() -> None:
    """Run every arm with every seed, and write the result and the page's tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--parents", type=Path, help=f"folder of the pair; default: parents/tiny-qwen35 in ${MATERIAL}")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "ablate", help="folder of the runs")
    given = parser.parse_args()
    pair = _pair(given.parents)
    given.work.mkdir(parents=True, exist_ok=True)
    _write_tasks(pair, given.work / "tasks")
    runs = [(arm, seed) for seed in SEEDS for arm in ARMS]
    console = Console(stderr=True)
    outcomes = [_run(*run, pair, given.work) for run in track(runs, "runs of the ablation", console=console)]
    shown = f"{tables(outcomes)}\n\n{_kept(outcomes)}"
    print(shown)
    before, opened, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{opened}\n{shown}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


def _pair(parents: Path | None) -> Path:
    """The folder with `father`, `mother` and the questions; exits where there is none."""
    material = os.environ.get(MATERIAL, "")
    if not parents and not material:
        sys.exit(f"ablate: no parents; set {MATERIAL} to the folder that holds parents/tiny-qwen35, or give --parents")
    pair = parents or Path(material) / "parents" / "tiny-qwen35"
    missing = [name for name in ("father", "mother", *(f"{s}.jsonl" for s in SKILLS)) if not (pair / name).exists()]
    if missing:
        sys.exit(f"ablate: {pair} lacks {', '.join(missing)}; give --parents a folder that holds them")
    return pair.resolve()


def _write_tasks(pair: Path, folder: Path) -> None:
    """Both skills as lm-eval tasks; what is JSON is YAML too."""
    folder.mkdir(exist_ok=True)
    for skill in SKILLS:
        task = {
            "task": skill,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(pair / f"{skill}.jsonl")}},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "text",
            "doc_to_target": "gold",
            "doc_to_choice": "choices",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        (folder / f"{skill}.yaml").write_text(json.dumps(task, indent=1))


def _run(arm: Arm, seed: int, pair: Path, work: Path) -> Outcome:
    """One whole run, up to its verdict."""
    name = f"{arm.name} {seed}".lower().replace(", ", "-").replace(" ", "-").replace(".", "")
    document = {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": name},
        "spec": _spec(arm, seed, pair) | {"store": {"uri": name}},
    }
    seen = _walked(experiment_of(check(document, name, Manifest), work), arm)
    assert seen.verdict and seen.winner and seen.winner.candidate
    scores = {model: summary.score for model, summary in seen.verdicts.items()}
    return Outcome(
        arm=arm.name,
        seed=seed,
        search=seen.winner.score,
        against_linear=seen.verdict.vs_linear.result,
        label=seen.verdict.label,
        generation=seen.winner.candidate.generation,
        genome=seen.winner.candidate.genome.values(),
        **scores,
    )


def _spec(arm: Arm, seed: int, pair: Path) -> dict[str, Any]:
    """The manifest's spec for an arm, but for its store."""
    spec: dict[str, Any] = {
        "parents": {who: {"uri": str(pair / who)} for who in ("father", "mother")},
        "evolution": {"steps": GENERATIONS, "candidates": CANDIDATES},
        "evaluation": {
            "taskFolder": "tasks",
            "chunk": 256,
            "threads": 1,
            "tasks": [{"name": skill, **ROWS} for skill in SKILLS],
        },
        "seed": seed,
    }
    for section, settings in arm.settings.items():
        spec[section] = spec.get(section, {}) | dict(settings)
    return spec


def _walked(experiment: Experiment, arm: Arm) -> Walk:
    """All that a run says once it has its verdict."""
    spec, store = experiment.spec, open_store(experiment.where.store)
    place = Place(experiment.where, store, threading.Event(), lambda done, total: None)

    def taken(result: Result) -> Result:
        if arm.random and isinstance(result, Done) and isinstance(result.summary, SearchSummary):
            return result.model_copy(update={"summary": dealt(result.summary, spec.search.bounds, spec.seed)})
        return result

    results = {task: taken(result) for task, result in claim(experiment, store).items()}
    while (seen := walk(experiment, results)).verdict is None:
        ready = [task for task in seen.ready if task.stage in NEEDED]
        if not ready:
            sys.exit(f"ablate: {experiment.name} ended without a verdict: {seen.outcome}")
        for task in ready:
            results[task.id] = taken(perform(task, task.id, place, last_try=True))
    return seen


def _kept(outcomes: list[Outcome]) -> str:
    """Write the result, and say where it was measured."""
    host, found = machine(), versions("torch", "transformers", "lm-eval")
    content = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": host,
        "versions": found,
        "children": BUDGET,
        "rows": ROWS,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    (RESULTS / "ablate.json").write_text(json.dumps(content, indent=1) + "\n")
    where = f"{content['date']}, commit {content['commit'] or 'unknown'}; {host['cpu']}, {host['cores']} cores; "
    return where + ", ".join(f"{name} {version}" for name, version in found.items())


if __name__ == "__main__":
    main()

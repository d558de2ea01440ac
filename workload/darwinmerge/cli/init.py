"""`darwin init`: a manifest to begin with, commented by what its types say."""

import os
import re
from bisect import bisect_right
from pathlib import Path
from typing import Any

import click

from darwinmerge.cli.validate import model_of
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.benchmark import Evaluation
from darwinmerge.experiment.experiment import experiment_of, planned_questions
from darwinmerge.experiment.load import check, parse
from darwinmerge.experiment.places import require_apart
from darwinmerge.experiment.searching import Evolution
from darwinmerge.experiment.written import written

HEAD = "# Made by `darwin init`; docs/manifest.md tells of each field. Next: `darwin validate {0}`, `darwin run {0}`.\n"
MAX_STEPS = 1000  # that a manifest takes
CLUSTER = {  # what a cluster needs to know in any case; the rest has defaults
    "store": {"credentialsSecret": {"name": "s3"}},
    "template": {"resources": {"limits": {"cpu": "2", "memory": "8Gi"}, "requests": {"cpu": "1", "memory": "4Gi"}}},
}

EPILOG = """
\b
Examples:
  darwin init --father models/a --mother models/b --task arc_challenge:acc_norm
  darwin init mine.yaml --father A --mother B --task arc_easy --task boolq --search-rows 300 --verdict-rows 1000
  darwin init --father A --mother B --task arc_easy --search-rows 200 --verdict-rows 800 --budget 20000
  darwin init mine.yaml --cluster --father s3://models/a --mother s3://models/b --task boolq --store s3://runs/mine
"""


@click.command(epilog=EPILOG)
@click.argument("file", default="merge.yaml", metavar="[FILE]")
@click.option("--father", required=True, help="Parent A: a model folder, s3://bucket/prefix, hf://org/name.")
@click.option("--mother", required=True, help="Parent B.")
@click.option("--base", help="What both are fine-tunes of, for the merge methods that move from it.")
@click.option("--task", "tasks", multiple=True, required=True, metavar="NAME[:METRIC]", help="An lm-eval task; repeat.")
@click.option("--task-folder", help="A folder with lm-eval task YAML of your own, besides lm-eval's.")
@click.option("--steps", type=int, help="Generations.")
@click.option("--candidates", type=int, help="Children a generation.")
@click.option("--budget", type=click.IntRange(1), metavar="QUESTIONS", help="As many generations as these allow.")
@click.option("--search-rows", type=int, help="Rows of each task that score a candidate.")
@click.option("--verdict-rows", type=int, help="Rows of each task that judge the best, kept from the search.")
@click.option("--store", help="Where everything goes, and what a run goes on from.  [default: runs/NAME]")
@click.option("--output", help="Where the child is published; by default it stays in the store.")
@click.option("--name", help="The experiment's name.  [default: FILE's, without .yaml]")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of everything random.")
@click.option("--cluster", is_flag=True, help="With spec.cluster, for `kubectl apply`.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def init(
    file: str,
    father: str,
    mother: str,
    base: str | None,
    tasks: tuple[str, ...],
    task_folder: str | None,
    steps: int | None,
    candidates: int | None,
    budget: int | None,
    search_rows: int | None,
    verdict_rows: int | None,
    store: str | None,
    output: str | None,
    name: str | None,
    seed: int,
    cluster: bool,
    force: bool,
    debug: bool,
) -> None:
    """Write a commented manifest to FILE; - is stdout.

    Paths are given as seen from this folder, and written as seen from FILE's. What is written is valid: a mistake in
    what is given is named, and nothing is written.
    """
    if budget is not None and steps is not None:
        raise click.UsageError("give --steps or --budget, not both")
    path = None if file == "-" else Path(file)
    if path and path.exists() and not force:
        raise BadConfiguration(f"{path}: it exists; choose another FILE, or overwrite it with --force")
    name = name or (re.sub(r"[^a-z0-9]+", "-", path.stem.lower())[:36].strip("-") if path else "merge")
    places = {"father": father, "mother": mother, **_given(base=base)}
    rows = {"search": _given(rows=search_rows), "verdict": _given(rows=verdict_rows)}
    evolution = _given(steps=steps, candidates=candidates)
    spec: dict[str, Any] = {
        "parents": {who: {"uri": _seen_from(path, place)} for who, place in places.items()},
        "evaluation": {"tasks": [_task(task) | {side: n for side, n in rows.items() if n} for task in tasks]}
        | _given(taskFolder=_seen_from(path, task_folder) if task_folder else None),
        "evolution": {"steps": Evolution().steps, "candidates": Evolution().candidates} | evolution,
        "output": _given(uri=_seen_from(path, output) if output else None),
        "store": {"uri": _seen_from(path, store or f"runs/{name}")},
        "seed": seed,
        "cluster": CLUSTER if cluster else {},
    }
    document: dict[str, Any] = {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": name},
        "spec": {section: settings for section, settings in spec.items() if settings != {}},
    }
    model = model_of(cluster)
    manifest = check(document, "what is given", model)
    if budget is not None:
        document["spec"]["evolution"]["steps"] = _generations(budget, manifest.spec.evaluation, manifest.spec.evolution)
    text = HEAD.format(path.name if path else "FILE") + written(document, model)
    manifest = parse(text, file, model)  # with so many generations, and as a file
    require_apart(experiment_of(manifest, path.parent if path else Path()))
    for who, place in places.items():
        if "://" not in place and not Path(place).expanduser().is_dir():
            click.echo(f"warning: {who} {place}: no such model folder (yet)", err=True)
    if path is None:
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from None
    click.echo(f"{path}: written; next: darwin validate -f {path}")


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _seen_from(file: Path | None, place: str) -> str:
    """A place that was given as seen from the working directory, as a manifest in `file` has it."""
    if file is None or "://" in place or Path(place).expanduser().is_absolute():
        return place
    return os.path.relpath(place, file.parent)


def _task(given: str) -> dict[str, Any]:
    """A task of `name` or `name:metric`; a metric's filter is `none` where none is given."""
    name, found, metric = given.rpartition(":")
    if not found:
        return {"name": given}
    return {"name": name, "metric": metric if "," in metric else f"{metric},none"}


def _generations(budget: int, evaluation: Evaluation, evolution: Evolution) -> int:
    """As many generations as can be asked with so many questions."""
    one = planned_questions(evaluation, evolution.candidates)
    if one is None:
        raise BadConfiguration("--budget: how many questions a run asks is known from --search-rows and --verdict-rows")
    if budget < one:
        raise BadConfiguration(
            f"--budget {budget}: a run of one generation asks {one:,} questions; give more, or fewer rows"
        )
    steps = range(1, MAX_STEPS + 1)
    return bisect_right(steps, budget, key=lambda n: planned_questions(evaluation, n * evolution.candidates) or 0)

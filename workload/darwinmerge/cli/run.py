"""`darwin run`: the whole experiment on this machine."""

import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from darwinmerge.cli.arguments import takes_manifest
from darwinmerge.cli.estimate import estimate
from darwinmerge.cli.pair import console
from darwinmerge.cli.validate import text
from darwinmerge.cli.view import Terminal
from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.experiment.places import require_places
from darwinmerge.pipeline.claim import held, lasting, noted
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.runner import Runner
from darwinmerge.report.lines import title
from darwinmerge.store import layout, open_store

EPILOG = """
\b
Examples:
  darwin run merge.yaml
  darwin run merge.yaml --workers 2          two models in memory, the same result
  darwin run merge.yaml --dry-run            what would be done, and what is done already
  darwin run merge.yaml --json > result.json progress on stderr, the summary on stdout

Stopping loses nothing: Ctrl-C, a crash or a power cut, then the same command goes on where it was.
"""


MEANS = (
    click.option(
        "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes, a model each."
    ),
    click.option("--device", help="Where models run: cpu (a new run's default), cuda, cuda:1, mps."),
    click.option("--dry-run", is_flag=True, help="Say what would be done next, and do nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; progress goes to stderr."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


def takes_means(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments of `carry_out`, the experiment left out."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(MEANS), command)


@click.command(epilog=EPILOG)
@takes_manifest
@takes_means
def run(path: Path, workers: int, device: str | None, dry_run: bool, as_json: bool, debug: bool) -> None:
    """Run an experiment to its verdict, on this machine, with no cluster.

    FILE is a DarwinMerge manifest; paths in it are relative to its folder. Everything lands in the store that it
    names, which is also what a later run goes on from. Exit codes: 0 the run is complete, whatever the verdict;
    1 it ended without a child; 65, 78 a person must act; 75 stopped, goes on with the same command.
    """
    carry_out(experiment_of(load(path), path.parent), workers, device, dry_run, as_json)


def carry_out(experiment: Experiment, workers: int, device: str | None, dry_run: bool, as_json: bool) -> None:
    """Run an experiment from what its store has to its outcome, or say what would be done; ends the process.

    Raises:
        DarwinError: it can't go on without a person, or was stopped.
    """
    require_places(experiment)
    experiment = with_device(experiment, device)
    require_device(experiment.where.device, workers)
    if dry_run:
        click.echo(_dry(experiment, as_json))
        return
    from darwinmerge.report.table import keep, render

    out = console(stderr=as_json)
    with Terminal(experiment, out) as view:
        runner = Runner(experiment, workers, view)
        outcome = runner.run()
    store = open_store(experiment.where.store)
    summary = keep(experiment, runner.results, store)
    out.print(render(summary))
    if as_json:
        click.echo(summary.model_dump_json(by_alias=True, indent=1))
    raise SystemExit(ExitCode.OK if outcome.kind == "Complete" else ExitCode.FAILED)


def with_device(experiment: Experiment, device: str | None) -> Experiment:
    """The experiment on a device; None: on the one that its store was last run on, if it was."""
    store = open_store(experiment.where.store)
    if device is None and store.head(layout.RUN) is not None:
        device = noted(store).where.device
    where = experiment.where.model_copy(update={"device": device or experiment.where.device})
    return experiment.model_copy(update={"where": where})


def require_device(name: str, workers: int) -> None:
    """Refuse a device that this machine hasn't got, before a run begins that would remember it.

    Raises:
        BadConfiguration: naming it, and what is there.
    """
    if name == "cpu":
        return  # torch takes a second to import
    try:
        import torch

        device = torch.device(name)
        kind = torch.get_device_module(device)
    except ModuleNotFoundError:
        raise BadConfiguration(f"--device {name}: torch isn't installed: pip install 'darwinmerge[torch]'") from None
    except RuntimeError:
        raise BadConfiguration(f"--device {name}: torch knows no such device; give cpu, cuda, cuda:1 or mps") from None
    there = kind.device_count() if kind.is_available() else 0
    asked = workers if name == "cuda" else (device.index or 0) + 1  # plain cuda: each worker takes one of its own
    if asked > there:
        remedy = "give fewer --workers" if there and name == "cuda" else "give another --device"
        raise BadConfiguration(f"--device {name}: it takes {asked} {device.type}, and torch finds {there}; {remedy}")


def _dry(experiment: Experiment, as_json: bool) -> str:
    store = open_store(experiment.where.store)
    results = lasting(experiment, held(experiment, store))
    now, cost = plan(experiment, results), estimate(experiment)
    following = [title(task, experiment) for task in now.ready]
    if as_json:
        told = {"store": store.uri, "results": len(results), "next": following}
        outcome = now.outcome.model_dump(mode="json", by_alias=True) if now.outcome else None
        return json.dumps(
            {"estimate": cost.model_dump(mode="json", by_alias=True), **told, "outcome": outcome}, indent=1
        )
    lines = [text(experiment.name, cost), f"  store       {store.uri}: {len(results)} results"]
    if now.outcome:
        return "\n".join([*lines, f"  finished    {now.outcome.kind}: {now.outcome.reason}"])
    return "\n".join(lines + [f"  next        {what}" for what in following])

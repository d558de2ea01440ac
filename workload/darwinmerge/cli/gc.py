"""`darwin gc`: what a run's store holds that nothing refers to any more, and its end."""

import json
import time
from collections import Counter

import click

from darwinmerge.cli.arguments import takes_run
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import noted, recorded
from darwinmerge.pipeline.garbage import Waste, waste
from darwinmerge.report.state import costs_of
from darwinmerge.store import Store, layout, open_store

EPILOG = """
\b
Examples:
  darwin gc runs/my-merge                          what could go, and how many bytes it is
  darwin gc runs/my-merge --yes                    delete it
  darwin gc s3://bucket/runs/my-merge --logs-older-than 30 --yes
  darwin gc runs/my-merge --json | jq -r '.objects[].key'
"""


@click.command(epilog=EPILOG)
@takes_run
@click.option("--yes", is_flag=True, help="Delete it. Without this nothing is changed.")
@click.option(
    "--logs-older-than", "days", type=click.IntRange(1), help="Logs, too, of what was done so many days ago or before."
)
@click.option("--json", "as_json", is_flag=True, help="Print every object, and why it can go, as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def gc(experiment: Experiment, yes: bool, days: int | None, as_json: bool, debug: bool) -> None:
    """Say what nobody needs of a run's store, and with --yes delete it.

    That is children of former winners, staged children that can't win (spec.store.retention has them kept), and what
    killed processes left half written; logs only if asked. Never the present winner, the published child, or a result,
    score or answer that the run goes on from: it may be resumed and given more generations afterwards, and come to
    the same bytes. It may be asked while the run goes on.
    """
    store = open_store(experiment.where.store)
    objects = _objects(store, days)
    half = tuple(Waste(key=stat.key, size=stat.size, why="half written, a day old") for stat in store.stale())
    found = (*objects, *half)
    if yes:
        for item in objects:
            store.delete(item.key)
        store.sweep()  # what is half written has the key of what it was to be, which may be there
    if as_json:
        told = {"store": store.uri, "deleted": yes, "bytes": sum(item.size for item in found)}
        told["objects"] = [item.model_dump(mode="json", by_alias=True) for item in found]
        click.echo(json.dumps(told, indent=1))
    else:
        click.echo(_text(store, found, yes))


def _objects(store: Store, days: int | None) -> tuple[Waste, ...]:
    """Objects that can go; they are listed before the results are read, see `waste`."""
    stats = list(store.list(""))
    experiment = noted(store)  # the manifest may say less than was run since
    results = recorded(store)
    logs: frozenset[str] = frozenset()
    if days:
        before = time.time() - days * 86400
        logs = frozenset(layout.log_folder(c.stage, c.task) for c in costs_of(store) if c.finished < before)
    return waste(experiment, results, stats, logs)


def _text(store: Store, found: tuple[Waste, ...], deleted: bool) -> str:
    counts, sizes = Counter(item.why for item in found), Counter[str]()
    for item in found:
        sizes[item.why] += item.size
    lines = [f"{store.uri}: {'nothing to delete' if not found else 'deleted' if deleted else 'can be deleted'}"]
    lines += [f"  {sizes[why] / 1e6:>12,.1f} MB  {count:>6,} objects  {why}" for why, count in counts.items()]
    if found and not deleted:
        lines.append("nothing was changed; --yes deletes them")
    return "\n".join(lines)

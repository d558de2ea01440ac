"""`darwin ls`: the experiments below a folder or a prefix, and how far each of them is."""

import json
from functools import partial

import click
from rich.box import HORIZONTALS
from rich.markup import escape
from rich.table import Table

from darwinmerge.cli.pair import console
from darwinmerge.cli.show import when
from darwinmerge.errors import DarwinError
from darwinmerge.parallel import in_order
from darwinmerge.pipeline.claim import noted, recorded
from darwinmerge.pipeline.plan import walk
from darwinmerge.report.state import State, costs_of, state_of
from darwinmerge.store import open_store
from darwinmerge.store.find import stores_below

READERS = 16  # stores looked at together: what takes time is S3's answers

EPILOG = """
\b
Examples:
  darwin ls                                    below this folder
  darwin ls runs s3://bucket/runs              below several places
  darwin ls --json | jq -r '.[] | select(.state == "Unfinished") | .store'
"""


@click.command(epilog=EPILOG)
@click.argument("places", nargs=-1, metavar="[PLACE]...")
@click.option("--json", "as_json", is_flag=True, help="Print what `darwin show --json` prints, of each experiment.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def ls(places: tuple[str, ...], as_json: bool, debug: bool) -> None:
    """List the experiments below each PLACE, a folder or s3://bucket/prefix.

    Without a PLACE it's this folder. A store is told by its experiment.json; one that can't be read is named on stderr,
    and the others are listed.
    """
    stores = dict.fromkeys(store for place in places or (".",) for store in stores_below(place))
    found = []
    for store, answer in zip(stores, in_order((partial(_state, store) for store in stores), READERS), strict=True):
        if isinstance(answer, State):
            found.append((store, answer))
        else:
            click.echo(f"{store}: {answer}", err=True)
    if as_json:
        click.echo(json.dumps([state.model_dump(mode="json", by_alias=True) for _, state in found], indent=1))
    elif found:
        console().print(_table(found))
    else:
        click.echo(f"no experiments below {', '.join(places or ('.',))}", err=True)


def _state(uri: str) -> State | DarwinError:
    try:
        store = open_store(uri)
        experiment = noted(store)
        return state_of(experiment, walk(experiment, recorded(store)), store.uri, costs_of(store))
    except DarwinError as error:
        return error


def _table(found: list[tuple[str, State]]) -> Table:
    table = Table(box=HORIZONTALS, pad_edge=False, collapse_padding=True)
    for name in ("store", "name", "state", "generation", "candidates", "best", "verdict", "last result", "child"):
        right, whole = name in ("generation", "candidates", "best"), name in ("name", "child")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=whole)
    for store, state in found:
        far = state.progress
        stage = far.stage if state.outcome is None else state.state if state.verdict else state.outcome.reason
        best = f"{state.best.score:.3f}" if state.best else ""
        verdict = state.verdict.label if state.verdict else ""
        counts = f"{far.step}/{far.steps}", f"{far.candidates}/{far.candidates_total}"
        child = state.best.recipe[:16] if state.child and state.best else ""  # the start of it, as its folder has it
        told = (store, state.name, stage, *counts, best, verdict, when(state.updated), child)
        table.add_row(*map(escape, told))
    return table

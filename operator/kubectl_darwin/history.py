"""`kubectl darwin history`: every candidate of a run, by generation."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import click

from darwinmerge.cli.pair import console
from darwinmerge.cli.show import candidates
from darwinmerge.pipeline.plan import walk
from darwinmerge.report.state import State, costs_of
from darwinmerge.search.genome import GENES
from kubectl_darwin.arguments import reaches_cluster, takes_form, tell
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.found import remembered
from kubectl_darwin.store import store_of

EPILOG = """
\b
Examples:
  kubectl darwin history my-merge
  kubectl darwin history my-merge -o csv > candidates.csv
  kubectl darwin history my-merge --seconds      how long each took, from the store: needs S3 credentials
  kubectl darwin history my-merge -o json | jq '[.[] | select(.rejected != "")]'
"""
FIELDS = ("generation", "candidate", "score", "rejected", *GENES, "recipe", "seconds")


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option("--seconds", "timed", is_flag=True, help="Add how long each took, from the store (S3 credentials).")
@takes_form("json", "yaml", "csv")
@reaches_cluster
def history(cluster: Cluster, name: str, timed: bool, form: str) -> None:
    """List a run's candidates: score on search rows, genes, and why one was rejected.

    Candidates are counted from 1 within their generation, as in all that people read. They come from the operator's
    ledger; only --seconds asks the store.
    """
    resource, ledger, state = remembered(cluster, cluster.named(name))
    took: dict[tuple[int, int], float] = {}
    if timed:
        known = walk(resource.experiment(), ledger.results)
        spent = {cost.task: cost.seconds for cost in costs_of(store_of(resource))}
        places = {task.id: (g.number, i) for g in known.generations for i, task in enumerate(g.tasks)}
        took = {place: spent[task] for task, place in places.items() if task in spent}
    rows = rows_of(state, took)
    if form == "csv":
        click.echo(as_csv(rows), nl=False)
    elif form:
        tell(rows, form)
    elif rows:
        title = f"{state.name}: {len(rows)} candidate{'s' * (len(rows) > 1)}"
        console().print(candidates(state.candidates, title, took if timed else None))
    else:
        click.echo(f"{state.name}: no candidate has a result yet; it is at: {state.progress.stage}", err=True)


def rows_of(state: State, took: Mapping[tuple[int, int], float]) -> list[dict[str, Any]]:
    """Candidates in plain data; genes beside the rest, so that a table of them can be made."""
    return [
        {
            "generation": one.candidate.generation,
            "candidate": one.candidate.index + 1,
            "score": one.score,
            "rejected": one.rejected,
            **dict(zip(GENES, one.candidate.genome.values(), strict=True)),
            "recipe": one.recipe,
            "seconds": took.get((one.candidate.generation, one.candidate.index)),
        }
        for one in state.candidates
    ]


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The same as comma-separated values, with a head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""`darwin mri`: the diagnosis of one model's tensors, or of two."""

import json
from typing import Any

import click
from rich.box import HORIZONTALS
from rich.table import Table

from darwinmerge.cli.pair import console, diagnosed, open_pair, settings, takes_settings
from darwinmerge.experiment.manifest import Score
from darwinmerge.mri.table import TensorRow, spread

EPILOG = """
\b
Examples:
  darwin mri models/father models/mother          where the parents differ, and by how much
  darwin mri models/father                        one model: its weakest tensors
  darwin mri A B --json | jq '.[] | select(.kind == "ffn") | .ratio_b'
"""


@click.command(epilog=EPILOG)
@click.argument("father")
@click.argument("mother", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="Tensors in each table.")
@takes_settings
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def mri(father: str, mother: str | None, as_json: bool, top: int, assignments: tuple[str, ...], debug: bool) -> None:
    """Diagnose every tensor of FATHER, and of MOTHER if given: norm, entropy, std, score, and what they prescribe.

    Prints the tensors with the lowest scores, and those whose prescriptions lie furthest from one half; of the
    prescription (ratio_b) higher means that Mother is better. It costs one pass over the weights.
    """
    err = console(stderr=True)
    spec = settings(father, mother or f"{father}/.", assignments)
    parents = open_pair(spec.parents.father, spec.parents.mother if mother else spec.parents.father, err)
    rows = diagnosed(parents, spec.mri, err)
    if as_json:
        click.echo(json.dumps([_record(row, spec.mri.score, bool(mother)) for row in rows], indent=1))
        return
    out = console()
    out.print(_weakest(rows, spec.mri.score, top, bool(mother)))
    if mother:
        out.print(_most_different(rows, top))
        found = spread(rows)
        word = "informative" if found >= spec.mri.min_spread else "not informative: they hardly differ"
        differ = sum(row.presence == "both" for row in rows)
        out.print(f"{len(rows)} tensors, {differ} differ; spread of the prescriptions {found:.2g}, {word}")


def _record(row: TensorRow, score: Score, pair: bool) -> dict[str, Any]:
    found: dict[str, Any] = row.model_dump(mode="json", exclude={"father", "mother", "only"})
    for who in ("father", "mother") if pair else ("father",):
        figures = getattr(row, who)
        found[who] = figures.model_dump() | {"score": figures.score(score)}
    return found


def _weakest(rows: list[TensorRow], score: Score, top: int, pair: bool) -> Table:
    table = Table(title="lowest scores", title_justify="left", box=HORIZONTALS)
    for name in ("tensor", "kind", "dtype", "norm", "entropy", "std", "score", *(["Mother's"] if pair else [])):
        table.add_column(name, justify="left" if name in ("tensor", "kind", "dtype") else "right", overflow="fold")
    weights = [row for row in rows if row.presence != "not-a-weight"]
    for row in sorted(weights, key=lambda row: (row.father.score(score), row.name))[:top]:
        f = row.father
        numbers = [f"{f.norm:.3f}", f"{f.entropy:.3f}", f"{f.std:.4f}", f"{f.score(score):.4f}"]
        mother = [f"{row.mother.score(score):.4f}"] if pair else []
        table.add_row(row.name, row.kind, row.dtype, *numbers, *mother)
    return table


def _most_different(rows: list[TensorRow], top: int) -> Table:
    table = Table(title="prescriptions furthest from one half", title_justify="left", box=HORIZONTALS)
    for name in ("tensor", "kind", "layer", "ratio_b", "flag"):
        table.add_column(name, justify="right" if name == "ratio_b" else "left", overflow="fold")
    both = [row for row in rows if row.presence == "both"]
    for row in sorted(both, key=lambda row: (-abs(row.ratio_b - 0.5), row.name))[:top]:
        table.add_row(row.name, row.kind, row.layer, f"{row.ratio_b:.6f}", row.flag)
    return table

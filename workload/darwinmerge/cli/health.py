"""`darwin health`: a child's layers beside its parents', for any child in a folder."""

import click
from rich.box import HORIZONTALS
from rich.table import Table

from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.pair import aligned
from darwinmerge.cli.pair import console, diagnosed, open_pair, settings, takes_settings
from darwinmerge.errors import ExitCode
from darwinmerge.health.compare import MOST, HealthTable, agreement_of
from darwinmerge.health.task import examine

EPILOG = """
\b
Examples:
  darwin health child models/father models/mother
  darwin health child A B --json | jq '.layers[] | select(.flag != "")'
"""


@click.command(epilog=EPILOG)
@click.argument("child")
@click.argument("father")
@click.argument("mother")
@click.option("--json", "as_json", is_flag=True, help="Print layers and tensors as JSON.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(0), help="Tensors with the worst delta.")
@takes_settings
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def health(
    child: str, father: str, mother: str, as_json: bool, top: int, assignments: tuple[str, ...], debug: bool
) -> None:
    """Hold CHILD against FATHER and MOTHER, layer by layer.

    Interference: far above both parents' importance; FunctionLoss: far below; Displaced: further from Father than a
    merge can bring it; Diverged: on a few probes, its output is further from both parents' than these are from each
    other; Fail: NaN or infinite values. Exits 1 on Fail.
    """
    err = console(stderr=True)
    spec = settings(father, mother, assignments)
    parents = open_pair(spec.parents.father, spec.parents.mother, err)
    rows = diagnosed(parents, spec.mri, err)
    of_child = aligned(parents[0], open_model(child))[1]
    table = examine(of_child, parents, rows, spec.mri, spec.health, lambda done, total: None)
    if as_json:
        click.echo(table.model_dump_json(indent=1))
    else:
        _print(table, top)
    raise SystemExit(ExitCode.FAILED if table.status == "Fail" else ExitCode.OK)


def _print(health: HealthTable, top: int) -> None:
    layers = Table(box=HORIZONTALS)
    for name in ("layer", "child", "Father", "Mother", "moved", "output", "parents'", "flag"):
        layers.add_column(name, justify="left" if name in ("layer", "flag") else "right")
    for layer in health.layers:
        moved = "-" if layer.moved is None else f"{layer.moved:.3f}" if layer.moved < 1e6 else "∞"
        numbers = [f"{x:.4f}" for x in (layer.child, layer.father, layer.mother)]
        shift = (
            [f"{x:.3f}" if x < MOST else "∞" for x in (layer.shift.child, layer.shift.parents)]
            if layer.shift
            else ["-", "-"]
        )
        layers.add_row(layer.layer, *numbers, moved, *shift, layer.flag, style="bold red" if layer.flag else "")
    tensors = Table(title="worst deltas: score(child) - the better parent's", title_justify="left", box=HORIZONTALS)
    tensors.add_column("tensor")
    tensors.add_column("delta", justify="right")
    for tensor in health.tensors[:top]:
        tensors.add_row(tensor.name, f"{tensor.delta:+.4f}")
    out = console()
    out.print(layers)
    if top:
        out.print(tensors)
    out.print(agreement_of(health), markup=False, highlight=False)
    out.print(f"Health: {health.status}")

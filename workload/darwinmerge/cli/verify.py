"""`darwin verify`: whether a child is what its record says, bit for bit."""

import json
from functools import partial

import click

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.cli.pair import bar, console
from darwinmerge.errors import BadConfiguration, BadInput, ExitCode
from darwinmerge.publish.record import record_of
from darwinmerge.publish.verify import PARENTS, Check, checks
from darwinmerge.store import layout

EPILOG = """
\b
Examples:
  darwin verify runs/smollm2/children/8d6fd94c3b0509d3
  darwin verify s3://bucket/models/my-child --quick          files, parents and accounts; nothing is merged
  darwin verify child --father A --mother B                  the parents lie elsewhere now, or it was merged by hand
  darwin verify child --json | jq -r '.checks[] | select(.state == "FAILED") | .found'
"""
COLOURS = {"ok": "green", "FAILED": "bold red", "not checked": "yellow", "unrecorded": "yellow"}


@click.command(epilog=EPILOG)
@click.argument("child")
@click.option("--father", help="Model folder of parent A; default: where it was when the child was published.")
@click.option("--mother", help="Model folder of parent B, likewise.")
@click.option("--base", help="Model folder that both are fine-tunes of, for a child that was made with one; likewise.")
@click.option("--father-base", default="", help="The model that parent A, an adapter, is on; default: likewise.")
@click.option("--mother-base", default="", help="The model that parent B is on, likewise.")
@click.option("--quick", is_flag=True, help="Don't diagnose and merge again: hashes and accounts only.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def verify(
    child: str,
    father: str | None,
    mother: str | None,
    base: str | None,
    father_base: str,
    mother_base: str,
    quick: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Prove that CHILD is what its record, darwin.json, says: from its parents, bit for bit.

    CHILD is a folder, or a model in S3 or on a hub. Its files, its parents and their base are hashed, the parents are
    diagnosed again, the recipe is computed again, and the merge is done again in memory and held against the child.
    Exits 1 where something is not as recorded, and 65 where the parents are not those of the record, so that the child
    can't be held against them.
    """
    folder = open_model(child)
    record = record_of(folder)
    if base and not record.pins.base:
        raise BadConfiguration(f"--base {base}: {child} was made without a base; leave it out")
    parents = [_parent(folder, "father", father, father_base), _parent(folder, "mother", mother, mother_base)]
    if record.pins.base:
        parents.append(_parent(folder, "base", base))
    err, out = console(stderr=True), console()
    made: list[Check] = []
    for check in checks(folder, tuple(parents), record, quick, partial(bar, console=err)):
        made.append(check)
        if not as_json:
            out.print(f"{check.state:<12}", style=COLOURS[check.state], end="")
            out.print(f"{check.name:<10} {check.found}", markup=False, highlight=False, soft_wrap=True)
    failed, partly = (any(check.state == state for check in made) for state in ("FAILED", "not checked"))
    strangers = any(check.name == PARENTS and check.state == "not checked" for check in made)
    code = ExitCode.FAILED if failed else ExitCode.BAD_INPUT if strangers else ExitCode.OK
    if as_json:
        told = [check.model_dump() for check in made]
        answer = {
            "child": child,
            "recipe": record.recipe_id,
            "ok": code == ExitCode.OK,
            "whole": not partly,
            "checks": told,
        }
        click.echo(json.dumps(answer, indent=1))
    elif failed:
        out.print("This child is not what its record says.")
    elif strangers:
        out.print("These are not the parents of the record; the child was not checked against them.")
    else:
        out.print(f"This child is what its record says{', as far as was looked' * partly}.")
    raise SystemExit(code)


def _parent(child: ModelFolder, who: str, given: str | None, base: str = "") -> ModelFolder:
    """A parent or the base: where it is said to lie, or where it lay when the child was published."""
    if given:
        return open_model(given, base=base)
    try:
        run = json.loads(child.read(layout.CHILD_RUN))
        noted, base = str(run[who]), base or str(run.get(f"{who}Base", ""))
    except (BadInput, ValueError, KeyError, TypeError):
        raise BadConfiguration(f"{child} doesn't say where its {who} lies; give --{who}") from None
    try:
        return open_model(noted, base=base)
    except (BadInput, BadConfiguration) as error:
        raise type(error)(f"{error}; or, if it lies elsewhere by now, give --{who}") from None

"""`darwin merge`: one merge by hand, with a genome and any setting of the manifest."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import yaml
from pydantic import ValidationError
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.cli.pair import console, diagnosed, open_base, open_pair, settings, takes_settings, writing
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.fields import parse_size
from darwinmerge.experiment.load import not_yaml, refused
from darwinmerge.experiment.manifest import Spec
from darwinmerge.merge.methods import METHODS
from darwinmerge.merge.overrides import Override, Overrides, overriding
from darwinmerge.merge.recipe import Pins, Recipe, child_recipe
from darwinmerge.mri.table import TensorRow, require_finite, table_digest
from darwinmerge.pipeline.tasks import mixing_of
from darwinmerge.publish.record import Origin, record_file
from darwinmerge.search.genome import GENES, INERT, Genome

EPILOG = """
\b
Examples:
  darwin merge --father A --mother B --genome ratio=0.5,attn=0.4,ffn=0.6,density_b=0.8 --seed 1 -o child
  darwin merge --father A --mother B --genome ratio=0.3 --set mri.weight=0 -o child   the genes alone decide
  darwin merge --father A --mother B --genome ratio=0.5 --plan                        what would become of each tensor
  darwin merge --father A --mother B --base C --genome ratio=0.5,density_a=0.7 -o child  DARE-TIES
  darwin merge --father A --mother B --base C --method Ties --set merge.lambda=0.8 --genome ratio=0.5 -o child
  darwin merge --father A --mother B --method Slerp --genome ratio=0.5 -o child
  darwin merge --father A --mother B --genome ratio=0.5 --recipe recipe.yaml -o child

\b
A recipe file overrides ratios and densities; the first fit wins:
  overrides:
    - {kind: ffn, layers: 0-7, ratio: 0.2}
    - {pattern: "lm_head|embed", ratio: 0}    # 0 copies Father, 1 copies Mother
    - {kind: attention, density: 0.5}
"""

UNKNOWN = "?"  # a pin that isn't looked for: a plan needs none
NUMBERS = ("ratio_b", "final_ratio", "density", "density_a")


@click.command(epilog=EPILOG)
@click.option("--father", required=True, help="Model folder of parent A.")
@click.option("--mother", required=True, help="Model folder of parent B.")
@click.option("--base", help="Model folder that both are fine-tunes of, for the methods that move from it.")
@click.option("--method", type=click.Choice(list(METHODS)), help="How to merge; the same as --set merge.method=METHOD.")
@click.option(
    "--genome",
    "genes",
    required=True,
    help="Genes as name=value, by commas. Left out: ratio is 0.5; attn, ffn, embed are as ratio; densities are 1.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the mask.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the child; it must not exist.")
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path), help="A YAML file with overrides.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what would become of each tensor; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_settings
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def merge(
    father: str,
    mother: str,
    base: str | None,
    method: str | None,
    genes: str,
    seed: int,
    output: Path | None,
    recipe_file: Path | None,
    plan_only: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    debug: bool,
) -> None:
    """Merge two models once, by hand: the published formula, diagnosis included, or any setting and method of it.

    The same parents, base, genome, seed and settings give the same child, bit for bit, on any machine.
    """
    if plan_only == bool(output):
        raise click.UsageError("give -o OUT to write the child, or --plan to see what would be done")
    genome, overrides = parse_genome(genes), read_overrides(recipe_file)
    spec = settings(father, mother, assignments, base, method, seed=seed)
    if output and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadConfiguration(f"-o {output}: it exists; choose a new folder")
    err = console(stderr=True)
    parents = open_pair(spec.parents.father, spec.parents.mother, err)
    of_base = open_base(spec.parents.base, parents) if spec.parents.base else None
    sources = (*parents, of_base) if of_base else parents
    with ThreadPoolExecutor(2) as beside:  # the pins read every byte, as the diagnosis does
        pinned = [] if plan_only else [beside.submit(lambda folder: folder.pin, folder) for folder in sources]
        rows = diagnosed(parents, spec.mri, err)
    require_finite(rows)
    mixing = mixing_of(spec)
    found = [pin.result() for pin in pinned] or [UNKNOWN] * len(sources)
    pins = Pins(**dict(zip(("father", "mother", "base"), found, strict=False)))
    recipe = child_recipe(rows, genome, pins, mixing, spec.seed, overriding(overrides, spec.merge.method))
    if output is None:
        _print_plan(rows, recipe, as_json)
        return
    origin = Origin(genome=genome, mixing=mixing, table=table_digest(rows), mri=spec.mri, overrides=overrides)
    _write(output, recipe, sources, origin, spec, err)
    if as_json:
        click.echo(json.dumps({"child": str(output), "recipe": recipe.id, "accounts": recipe.accounts()}, indent=1))
        return
    accounts = ", ".join(f"{count} {name}" for name, count in recipe.accounts().items())
    click.echo(f"{output}: {accounts}; recipe {recipe.id}")


def parse_genome(text: str) -> Genome:
    """A genome from `ratio=0.5,attn=0.4`; genes left out take `ratio`, densities 1.

    Raises:
        BadConfiguration: naming the gene.
    """
    given: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in GENES:
            raise BadConfiguration(f"--genome {part}: no such gene; there are: {', '.join(GENES)}")
        try:
            given[name] = float(value)
        except ValueError:
            raise BadConfiguration(f"--genome {part}: write {name}=NUMBER, within 0..1") from None
    try:
        return Genome.of([given.get(gene, INERT.get(gene, given.get("ratio", 0.5))) for gene in GENES])
    except ValidationError as error:
        found = error.errors()[0]
        above = ", above 0" if found["type"] == "greater_than" else ""
        raise BadConfiguration(f"--genome {found['loc'][0]}={found['input']}: it must lie within 0..1{above}") from None


def read_overrides(path: Path | None) -> tuple[Override, ...]:
    """The overrides of a recipe file; none without one.

    Raises:
        BadConfiguration: naming the mistakes.
    """
    if path is None:
        return ()
    try:
        text = json.dumps(yaml.safe_load(path.read_text()))
        return Overrides.model_validate_json(text, strict=True).overrides
    except OSError as error:
        raise BadConfiguration(f"--recipe {path}: {error.strerror}") from None
    except ValidationError as error:
        raise refused(f"--recipe {path}", error.errors(), Overrides) from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise BadConfiguration(f"--recipe {path}: not YAML: {not_yaml(error)}") from None


def _print_plan(rows: list[TensorRow], recipe: Recipe, as_json: bool) -> None:
    based = recipe.base != ""
    lines = [
        {
            "tensor": row.name,
            "kind": row.kind,
            "layer": row.layer,
            "ratio_b": row.ratio_b,
            "final_ratio": decision.ratio if decision.account == "merged" else None,
            "density": recipe.density_of(decision) if decision.account == "merged" else None,
            **({"density_a": recipe.density_a_of(decision) if decision.account == "merged" else None} if based else {}),
            "decision": decision.account,
        }
        for row, decision in zip(rows, recipe.decisions, strict=True)
    ]
    if as_json:
        click.echo(json.dumps(lines, indent=1))
        return
    table = Table(box=HORIZONTALS)
    for name in lines[0]:
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for line in lines:
        table.add_row(*("-" if v is None else f"{v:.6f}" if isinstance(v, float) else v for v in line.values()))
    console().print(table)


def _write(
    output: Path,
    recipe: Recipe,
    parents: tuple[ModelFolder, ...],
    origin: Origin,
    spec: Spec,
    err: Console,
) -> None:
    """Write beside the output and rename, so that it is never half a model."""
    from darwinmerge.publish.write import write_child
    from darwinmerge.store import FileStore

    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(err) as tell:
            limit, record = parse_size(spec.output.max_shard_size), record_file(recipe, parents, origin)
            write_child(FileStore(partial), "", recipe, parents, limit, tell, record)
        shutil.rmtree(partial / ".partial", ignore_errors=True)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)

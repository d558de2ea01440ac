"""`darwin validate`: is the manifest right, what would it cost, and what could its verdict see?"""

from pathlib import Path

import click

from darwinmerge.cli.arguments import takes_manifest
from darwinmerge.cli.estimate import CHANGED, Estimate, ParentEstimate, estimate
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.experiment.places import require_apart
from darwinmerge.pipeline.results import RowCounts

EPILOG = """
\b
Examples:
  darwin validate -f merge.yaml
  darwin validate merge.yaml --benchmark     the tasks too: are they there, with this metric, and how many rows
  darwin validate --cluster -f merge.yaml && kubectl apply -f merge.yaml
  darwin validate merge.yaml --json | jq .questions
"""


@click.command(epilog=EPILOG)
@takes_manifest
@click.option("--cluster", is_flag=True, help="Ask for what Kubernetes asks for, spec.cluster included.")
@click.option("--benchmark", is_flag=True, help="Load the tasks and count their rows; needs lm-eval and the data sets.")
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def validate(path: Path, cluster: bool, benchmark: bool, as_json: bool, debug: bool) -> None:
    """Check a manifest: every mistake at once, with its path, what was found and what is allowed.

    Nothing but the file is needed. Where the parents are at hand their size is shown too, and in any case the
    number of candidates and questions, and the smallest difference that the verdict can detect. With --cluster
    what an API server would refuse is refused too: places that no Pod reaches, mistakes in spec.cluster. With
    --benchmark so is what lm-eval would refuse: a task, a metric, a split, more rows than there are.
    """
    experiment = experiment_of(load(path, model_of(cluster)), path.parent)
    require_apart(experiment)
    found = estimate(experiment, counted(experiment) if benchmark else ())
    click.echo(found.model_dump_json(by_alias=True, indent=2) if as_json else text(str(path), found))


def counted(experiment: Experiment) -> tuple[RowCounts, ...]:
    """The rows that its data sets give an experiment."""
    try:
        from darwinmerge.evaluation.harness import Benchmark
        from darwinmerge.evaluation.task import counts_of
    except ModuleNotFoundError as error:
        raise BadConfiguration(f"--benchmark needs the package {error.name}: pip install 'darwinmerge[eval]'") from None

    evaluation = experiment.spec.evaluation
    benchmark = Benchmark(experiment.where.task_folder, evaluation.allow_code)
    divided = benchmark.row_sets(evaluation.tasks, experiment.spec.seed)
    return tuple(counts_of(task.name, divided) for task in evaluation.tasks)


def model_of(cluster: bool) -> type[Manifest]:
    """What a manifest is checked against: the engine's type, or the resource's, which asks for more."""
    if not cluster:
        return Manifest
    from darwinmerge_operator.resource import DarwinMerge  # the one place that knows of it: a check, no engine

    return DarwinMerge


def text(what: str, found: Estimate) -> str:
    """An estimate as lines for a person."""
    unknown = "depends on the data set; --benchmark counts its rows"
    questions = f"{found.questions:,}" if found.questions is not None else unknown
    if found.detectable is None:
        sees = unknown
    else:
        sees = (
            f"a difference of {found.detectable:.3f} or more ({found.verdict_rows:,} questions, 80 % power, "
            f"if {CHANGED:.0%} of the answers change)"
        )
    lines = [
        f"{what}: valid",
        f"  father      {_parent(found.father)}",
        f"  mother      {_parent(found.mother)}",
        f"  candidates  {found.candidates} in {found.generations} generations",
        *(f"  rows        {r.task}: {r.search} + {r.fresh} fresh, {r.verdict} for the verdict" for r in found.rows),
        f"  questions   {questions}",
        f"  verdict     {'sees ' if found.detectable is not None else ''}{sees}",
    ]
    if found.published:
        lines.append(f"  published   {found.published}")
    if found.needed_rows:
        likely, surely = found.needed_rows
        lines.append(
            f"  needs       {likely:,} verdict questions to see {found.min_difference:g}, {surely:,} with 90 % power"
        )
    return "\n".join(lines + [f"  warning: {warning}" for warning in found.warnings])


def _parent(parent: ParentEstimate) -> str:
    if parent.tensors is None or parent.bytes is None:
        return f"{parent.uri}: {parent.note}"
    return f"{parent.uri}: {parent.tensors} tensors, {parent.bytes / 1e6:,.0f} MB"

"""`darwin resume`: a run goes on from its store alone."""

import click
from pydantic import ValidationError

from darwinmerge.cli.arguments import takes_run
from darwinmerge.cli.run import carry_out, takes_means
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.manifest import Spec

EPILOG = """
\b
Examples:
  darwin resume runs/my-merge                    goes on where it was, with the settings of its last run
  darwin resume runs/my-merge --steps 20         ten generations more than its ten
  darwin resume s3://bucket/runs/my-merge --dry-run
"""


@click.command(epilog=EPILOG)
@takes_run
@click.option("--steps", type=click.IntRange(1), help="Generations in all, more than so far.")
@takes_means
def resume(
    experiment: Experiment,
    steps: int | None,
    workers: int,
    device: str | None,
    dry_run: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Go on with a run, or with more generations after its end.

    RUN is the store of a run (a folder, or s3://bucket/prefix), or its manifest. Everything is as it was last run, the
    device too, but for what is given here. What is known is not computed again; after a verdict the verdict's rows
    are looked at once more, and it says so. Exit codes are those of `darwin run`.
    """
    if steps is not None:
        experiment = with_steps(experiment, steps)
    carry_out(experiment, workers, device, dry_run, as_json)


def with_steps(experiment: Experiment, steps: int) -> Experiment:
    """The experiment with more generations.

    Raises:
        BadConfiguration: they are fewer than it has, or more than are allowed.
    """
    had = experiment.spec.evolution.steps
    if steps < had:
        raise BadConfiguration(f"--steps {steps}: {experiment.name} has {had} generations; they can only become more")
    document = experiment.spec.model_dump(mode="json", by_alias=True)
    document["evolution"]["steps"] = steps
    try:
        return experiment.model_copy(update={"spec": Spec.model_validate(document)})
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadConfiguration(f"--steps {steps}: {why}") from None

"""`kubectl darwin retry`: another try for whatever has failed."""

from datetime import UTC, datetime

import click

from darwinmerge.errors import BadConfiguration
from darwinmerge_operator.resource import RETRY
from kubectl_darwin.arguments import reaches_cluster
from kubectl_darwin.change import ended
from kubectl_darwin.cluster import Cluster

EPILOG = """
\b
Examples:
  kubectl darwin status my-merge     what is wrong, and what helps
  kubectl darwin retry my-merge      once it is mended
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@reaches_cluster
def retry(cluster: Cluster, name: str) -> None:
    """Try again what has failed: attempts are counted anew, and what hangs is made anew as it is described now.

    The same as another value of the annotation darwinmerge.io/retry-requested-at. A run that has ended stays as it is.
    """
    run = cluster.named(name)
    if over := ended(run):
        raise BadConfiguration(
            f"{name} is {over}, and stays so; raise spec.evolution.steps, or begin with another store"
        )
    if run["spec"].get("cluster", {}).get("suspend"):
        raise BadConfiguration(f"{name} is suspended: nothing of it is tried; kubectl darwin resume {name}")
    cluster.change(run, {"metadata": {"annotations": {RETRY: datetime.now(UTC).isoformat(timespec="microseconds")}}})
    click.echo(f"{name}: another try was asked for")

"""`kubectl darwin resume`: go on where it was suspended."""

import click

from kubectl_darwin.arguments import reaches_cluster
from kubectl_darwin.change import set_suspend, takes_yes
from kubectl_darwin.cluster import Cluster

EPILOG = """
\b
Examples:
  kubectl darwin resume my-merge
  kubectl darwin resume my-merge && kubectl darwin status my-merge -w
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@takes_yes
@reaches_cluster
def resume(cluster: Cluster, name: str, yes: bool) -> None:
    """Go on with a run that is suspended, after its last shard or chunk of questions.

    The same as spec.cluster.suspend: false. Where Argo CD or Flux keeps the object, git has the last word: you are
    warned, and asked.
    """
    done = set_suspend(cluster, name, False, yes)
    click.echo(
        f"{name} resumed" if done else f"{name} wasn't suspended; kubectl darwin status {name} says what it does"
    )

"""`kubectl darwin suspend`: give the GPUs back, and keep what is done."""

import click

from darwinmerge_operator.job import GRACE_SECONDS
from kubectl_darwin.arguments import reaches_cluster
from kubectl_darwin.change import ended, set_suspend, takes_yes
from kubectl_darwin.cluster import Cluster

EPILOG = """
\b
Examples:
  kubectl darwin suspend my-merge
  kubectl darwin suspend my-merge --yes     though Argo CD or Flux may set it back
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@takes_yes
@reaches_cluster
def suspend(cluster: Cluster, name: str, yes: bool) -> None:
    """Stop a run: its Jobs are deleted, with time to finish what they write; what is done is kept.

    The same as spec.cluster.suspend: true. Where Argo CD or Flux keeps the object, git has the last word: you are
    warned, and asked.
    """
    if not set_suspend(cluster, name, True, yes):
        click.echo(f"{name} was suspended already")
        return
    over = ended(cluster.named(name))
    rest = f"it is {over}, and nothing ran" if over else f"its Pods have {GRACE_SECONDS} s to finish what they write"
    click.echo(f"{name} suspended; {rest}")

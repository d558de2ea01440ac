"""What suspend, resume and retry share: a change of one field, told before it is lost again."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from darwinmerge.errors import BadConfiguration
from darwinmerge_operator.view import holds, read
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.gitops import keeper_of


def set_suspend(cluster: Cluster, name: str, value: bool, yes: bool) -> bool:
    """Set `spec.cluster.suspend`; False where it was so already.

    Raises:
        BadConfiguration: GitOps would set it back, and the person hasn't said that this is fine.
    """
    run = cluster.named(name)
    if bool(run["spec"].get("cluster", {}).get("suspend")) == value:
        return False
    keeper = keeper_of(run)
    if keeper:
        field = f"spec.cluster.suspend: {str(value).lower()}"
        warning = (
            f"{name} is kept by {keeper.words}: what git doesn't say is set back at the next sync. "
            f"Say {field} in git; or stop it first: {keeper.instead}"
        )
        click.echo(f"warning: {warning}", err=True)
        if not yes and not (sys.stdin.isatty() and click.confirm("Change it in the cluster all the same?", err=True)):
            raise BadConfiguration(f"{name} is left as it is; --yes changes it all the same")
    cluster.change(run, {"spec": {"cluster": {"suspend": value}}})
    return True


def ended(run: Mapping[str, Any]) -> str:
    """How a run has ended; empty as long as it hasn't."""
    status = read(run.get("status"))
    return next((kind for kind in ("Complete", "Failed") if holds(status, kind)), "")


takes_yes = click.option("--yes", is_flag=True, help="Don't ask, where git would set it back.")

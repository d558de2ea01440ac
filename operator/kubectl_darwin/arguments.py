"""Arguments that subcommands share: which cluster, and in which form the answer."""

import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from kubectl_darwin.cluster import Cluster

WHERE = ("namespace", "context", "kubeconfig")


def takes_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the three options that say which cluster, as kubectl calls them."""
    options = (
        click.option("-n", "--namespace", default="", help="The namespace, where it isn't the context's."),
        click.option("--context", default="", help="The kubeconfig's context, where it isn't the current one."),
        click.option("--kubeconfig", default="", help="The kubeconfig file, where it isn't KUBECONFIG's."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def reaches_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `cluster`, from its own options or those that stand before it."""

    @takes_cluster
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def wrapped(debug: bool, **given: Any) -> Any:
        return command(cluster=cluster_of({name: given.pop(name) for name in WHERE}), **given)

    return wrapped


def cluster_of(given: dict[str, str]) -> "Cluster":
    """The cluster of a command's options, or of those that stand before the command."""
    from kubectl_darwin.cluster import Cluster  # the Kubernetes client takes a second to import; --help needs none

    before = click.get_current_context().find_root().params
    return Cluster.reached(**{name: given[name] or before.get(name) or "" for name in WHERE})


def takes_form(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `form`: empty for people, else one of `forms`."""
    choice, shown = click.Choice(["", *forms]), f"[{'|'.join(forms)}]"
    return click.option("-o", "--output", "form", default="", type=choice, metavar=shown, help="For programs.")


def tell(value: Any, form: str) -> None:
    """Print plain data as JSON or YAML."""
    if form == "json":
        click.echo(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120), nl=False)

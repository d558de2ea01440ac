"""`kubectl darwin version`: of the plugin, and what the cluster knows."""

import click

from darwinmerge import __version__
from darwinmerge.errors import DarwinError
from darwinmerge_operator.api import Gone
from darwinmerge_operator.resource import GROUP, PLURAL, VERSION
from kubectl_darwin.arguments import WHERE, cluster_of, takes_cluster, takes_form, tell
from kubectl_darwin.cluster import INSTALL

EPILOG = """
\b
Examples:
  kubectl darwin version
  kubectl darwin version -o json
"""


@click.command(epilog=EPILOG)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@takes_form("json", "yaml")
@takes_cluster
def version(debug: bool, form: str, **where: str) -> None:
    """Print the plugin's version, and whether the cluster has the resource that it speaks of."""
    wanted = f"{PLURAL}.{GROUP}/{VERSION}"
    try:
        cluster_of({name: where[name] for name in WHERE}).require_resource()
        there = wanted
    except Gone:
        there = f"no {wanted}; install it: {INSTALL}"
    except DarwinError as error:
        there = f"not known: {error}"
    if form:
        tell({"client": __version__, "cluster": there}, form)
    else:
        click.echo(f"kubectl-darwin  {__version__}\ncluster         {there}")

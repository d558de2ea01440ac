"""`kubectl darwin report`: the report that a run leaves in its store, fetched and opened."""

import tempfile
import webbrowser
from pathlib import Path

import click

from darwinmerge.errors import BadConfiguration
from darwinmerge.store import layout
from darwinmerge_operator.view import read
from kubectl_darwin.arguments import reaches_cluster
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.found import resource_of
from kubectl_darwin.store import store_of

EPILOG = """
\b
Examples:
  kubectl darwin report my-merge                          in a browser
  kubectl darwin report my-merge -o my-merge.html         to a file
  AWS_PROFILE=lab kubectl darwin report my-merge --no-open
  AWS_ENDPOINT_URL_S3=http://localhost:9000 kubectl darwin report my-merge     through a port-forward
"""


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option(
    "-o", "--output", default="", help="The file, or - for stdout; default: a temporary one, which is opened."
)
@click.option("--no-open", is_flag=True, help="Only fetch it, and print where it is.")
@reaches_cluster
def report(cluster: Cluster, name: str, output: str, no_open: bool) -> None:
    """Fetch a run's report, one HTML file, and open it in a browser.

    It is drawn anew after each generation, and at the end. It lies in the store, which is read with S3 credentials of
    your own: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    run = cluster.named(name)
    status, resource = read(run.get("status")), resource_of(run)
    store = store_of(resource)
    try:
        page = store.read(layout.REPORT)
    except KeyError:
        now = f"; darwin report {store.uri} draws one now" if status and status.progress else ""
        raise BadConfiguration(f"{name} has no report yet: it is drawn after the first generation{now}") from None
    if output == "-":
        click.echo(page, nl=False)
        return
    place = Path(output) if output else Path(tempfile.mkdtemp(prefix="kubectl-darwin-")) / f"{name}.html"
    try:
        place.write_bytes(page)
    except OSError as error:
        raise BadConfiguration(f"-o {place}: {error.strerror}") from None
    opened = not (output or no_open) and webbrowser.open(place.resolve().as_uri())
    click.echo(f"{place} ({len(page) / 1e3:,.0f} kB){'' if opened or output or no_open else ': no browser was found'}")

"""`darwin report`: a run as one HTML page, finished or not."""

import json
from pathlib import Path

import click

from darwinmerge.cli.arguments import takes_run
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import held
from darwinmerge.store import layout, open_store
from darwinmerge.uri import file_path

EPILOG = """
\b
Examples:
  darwin report runs/my-merge                            writes runs/my-merge/report.html
  darwin report s3://bucket/runs/my-merge -o today.html  while the run goes on
  darwin report merge.yaml -o - | less
"""


@click.command(epilog=EPILOG)
@takes_run
@click.option(
    "-o", "--output", default="", help="The file, or - for stdout; default: report.html in a local store, else here."
)
@click.option("--json", "as_json", is_flag=True, help="Print place and size of the file as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def report(experiment: Experiment, output: str, as_json: bool, debug: bool) -> None:
    """Draw a run as one HTML file: the verdict, every candidate, diagnosis, health, cost and provenance.

    RUN is the store of a run (a folder, or s3://bucket/prefix) or its manifest. The file needs nothing else: no
    network, no script. It may be drawn at any time, and says what isn't there yet.
    """
    from darwinmerge.report.page import page

    store = open_store(experiment.where.store)
    results = held(experiment, store)
    if not results:
        raise BadConfiguration(f"store {store.uri}: nothing has run yet; darwin run, then darwin report")
    text = page(experiment, results, store)
    if output == "-":
        click.echo(text, nl=False)
        return
    place = Path(output) if output else (file_path(experiment.where.store) or Path()) / layout.REPORT
    try:
        size = place.write_bytes(text.encode())
    except OSError as error:
        raise BadConfiguration(f"-o {place}: {error.strerror}") from None
    click.echo(
        json.dumps({"report": str(place.resolve()), "bytes": size}) if as_json else f"{place} ({size / 1e3:,.0f} kB)"
    )

"""`darwin recall`: results that the store has, for drivers that can't read it."""

from pathlib import Path

import click

from darwinmerge.cli.arguments import takes_orders
from darwinmerge.pipeline.orders import Orders

EPILOG = """
\b
Examples:
  darwin recall --orders orders.json                 to stdout
  darwin recall --orders orders.json | jq .told      how many orders, from the first, this answer tells of
"""


@click.command(epilog=EPILOG)
@takes_orders
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def recall(orders: Orders, message: Path | None, debug: bool) -> None:
    """Answer tasks from the store, and never compute: a result each, or none where the store has none.

    An answer has at most 4,096 bytes, whatever the number of tasks: it tells of the first `told` of them. Ask again
    for the rest.
    """
    from darwinmerge.pipeline.recall import recall as answer

    answer(orders, message)

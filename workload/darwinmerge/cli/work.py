"""`darwin work`: what a pod runs."""

from pathlib import Path

import click

from darwinmerge.cli.arguments import takes_orders
from darwinmerge.pipeline.orders import Orders

EPILOG = """
\b
Examples:
  DARWIN_ORDERS='{"where": {...}, "orders": [...]}' darwin work    in a pod
  darwin work --orders orders.json --message answer.json          by hand

Stopping (SIGTERM, Ctrl-C) loses nothing: it ends within seconds, with exit code 75, and the same orders go on.
"""


@click.command(epilog=EPILOG)
@takes_orders
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def work(orders: Orders, message: Path | None, debug: bool) -> None:
    """Do tasks, one after the other, as a driver ordered them: the entry point of a pod.

    Results go to the store, progress to stdout as JSON lines, and a summary of at most 4,096 bytes to the termination
    message. A task that another version of Darwin ordered is refused (exit code 76). Exit codes: 65, 76, 78 a person
    must act; 69, 70, 71, 73, 77 another attempt may succeed; 75 interrupted.
    """
    from darwinmerge.pipeline.pod import work as do

    raise SystemExit(do(orders, message))

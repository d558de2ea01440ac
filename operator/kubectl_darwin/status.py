"""`kubectl darwin status`: one run as a screen, live if asked; or all runs of a namespace."""

import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import RenderableType
from rich.live import Live

from darwinmerge.cli.pair import console
from darwinmerge_operator.view import holds
from kubectl_darwin.arguments import reaches_cluster, takes_form, tell
from kubectl_darwin.cluster import Cluster, Unreachable
from kubectl_darwin.found import Found, find, told
from kubectl_darwin.screen import one_line, screen, table

EPILOG = """
\b
Examples:
  kubectl darwin status                       the namespace's runs, as kubectl get dm has them
  kubectl darwin status -A -w                 all runs that you may see, as they go on
  kubectl darwin status my-merge              one of them: what it does, what is wrong, and what helps
  kubectl darwin status my-merge -w           the same as a live screen, until the run has ended
  kubectl darwin status my-merge -o json | jq .fitness
"""


@click.command(epilog=EPILOG)
@click.argument("name", default="")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Runs of all namespaces.")
@click.option("-w", "--watch", is_flag=True, help="Go on looking until the run has ended; Ctrl-C stops.")
@click.option("--interval", default=2.0, show_default=True, type=click.FloatRange(0.5), help="Seconds between looks.")
@takes_form("json", "yaml")
@reaches_cluster
def status(cluster: Cluster, name: str, everywhere: bool, watch: bool, interval: float, form: str) -> None:
    """Show a run: progress, scores, conditions and what helps, Pods, candidates, events. Without NAME: list all runs.

    With --watch and no terminal there's a line for each change. What you may not read is left out, and named.
    """
    if name and everywhere:
        raise click.UsageError("give a NAME or -A; a run of another namespace is found with -n")
    if watch and form:
        raise click.UsageError("-w is for people; ask again, without it, for -o")

    def look() -> list[Found]:
        if name:
            return [find(cluster, cluster.named(name))]
        return [told(run, None, None) for run in cluster.runs("" if everywhere else cluster.namespace)]

    def drawn(found: list[Found]) -> RenderableType:
        now = time.time()
        return screen(found[0], now) if name else table(found, now, everywhere)

    found = look()
    if form:
        plain: list[Any] = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in found]
        tell(plain[0] if name else plain, form)
    elif watch:
        _watch(look, found, drawn, interval)
    elif found:
        console().print(drawn(found))
    else:
        click.echo(f"no DarwinMerge in {'any namespace' if everywhere else f'namespace {cluster.namespace}'}", err=True)


def _watch(
    look: Callable[[], list[Found]],
    found: list[Found],
    drawn: Callable[[list[Found]], RenderableType],
    interval: float,
) -> None:
    """Look again and again: a live screen, which is printed when it ends; without a terminal, lines."""
    out = console()
    if not out.is_terminal:
        _lines(look, found, interval)
        return
    try:
        with Live(drawn(found), console=out, screen=True, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while not _ended(found):
                time.sleep(interval)
                found = _again(look, found)
                live.update(drawn(found), refresh=True)
    except KeyboardInterrupt:
        pass
    out.print(drawn(found))


def _lines(look: Callable[[], list[Found]], found: list[Found], interval: float) -> None:
    said: set[str] = set()
    while True:
        lines = [one_line(one) for one in found]
        for line in lines:
            if line not in said:
                click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        said = set(lines)
        if _ended(found):
            return
        time.sleep(interval)
        found = _again(look, found)


def _again(look: Callable[[], list[Found]], found: list[Found]) -> list[Found]:
    """The next look; where the API server is away for a moment the last one, which says so."""
    try:
        return look()
    except Unreachable as error:
        return [one.model_copy(update={"missing": (f"anything newer: {error}",)}) for one in found]


def _ended(found: list[Found]) -> bool:
    return all(holds(one.status, "Complete") or holds(one.status, "Failed") for one in found) and bool(found)

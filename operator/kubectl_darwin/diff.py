"""`kubectl darwin diff`: two experiments side by side: what was asked differently, and what came of it."""

from collections.abc import Iterator
from typing import Any

import click
from rich.box import HORIZONTALS
from rich.markup import escape
from rich.table import Table

from darwinmerge.cli.pair import console
from darwinmerge_operator.resource import DarwinMerge
from darwinmerge_operator.status import Status, Versus
from darwinmerge_operator.view import read
from kubectl_darwin.arguments import reaches_cluster, takes_form, tell
from kubectl_darwin.cluster import Cluster
from kubectl_darwin.found import resource_of

EPILOG = """
\b
Examples:
  kubectl darwin diff my-merge other
  kubectl darwin diff my-merge team-b/my-merge      NAMESPACE/NAME: of another namespace
  kubectl darwin diff my-merge other -o json | jq .spec
"""
OUTPUT = ("spec.output.uri", "spec.output.hub", "spec.output.publishIf")
PLACES = ("spec.store", *OUTPUT, "spec.cluster")  # where, and how fast: no reason for another result
Pairs = dict[str, tuple[Any, Any]]


@click.command(epilog=EPILOG)
@click.argument("a")
@click.argument("b")
@takes_form("json", "yaml")
@reaches_cluster
def diff(cluster: Cluster, a: str, b: str, form: str) -> None:
    """Compare two experiments: fields of spec that can move a result, defaults filled in, and both results.

    Store, output and spec.cluster are left out: they move no result by a bit. Scores of different benchmarks or seeds
    are scores on different questions, which is said.
    """
    runs = [cluster.named(name) for name in (a, b)]
    resources = resource_of(runs[0]), resource_of(runs[1])
    states = tuple(read(run.get("status")) or Status() for run in runs)
    asked, came = asked_differently(*resources), results(states[0], states[1])
    apart = any(field.startswith("spec.evaluation") or field == "spec.seed" for field in asked)
    if form:
        plain = {"runs": [a, b], "spec": {k: list(v) for k, v in asked.items()}, "results": {}}
        plain["results"] = {k: list(v) for k, v in came.items()}
        tell(plain, form)
        return
    out = console()
    same = "spec: nothing that can move a result differs"
    out.print(_table("spec: what can move a result", a, b, asked) if asked else same)
    out.print(_table("results", a, b, came))
    if apart:
        out.print("Their scores aren't on the same questions, or not under the same terms: see evaluation and seed.")


def asked_differently(a: DarwinMerge, b: DarwinMerge) -> Pairs:
    """Fields that can move a result and aren't the same, with both values."""
    left, right = dict(_fields(a)), dict(_fields(b))
    names = [*left, *(name for name in right if name not in left)]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def _fields(resource: DarwinMerge) -> Iterator[tuple[str, Any]]:
    for name, value in _leaves(resource.spec.model_dump(mode="json", by_alias=True), "spec"):
        if not name.startswith(PLACES):
            yield name, value


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    inner = {f".{k}": v for k, v in node.items()} if isinstance(node, dict) else {}
    if isinstance(node, list):
        names = [one.get("name", i) if isinstance(one, dict) else i for i, one in enumerate(node)]
        inner = {f"[{name}]": one for name, one in zip(names, node, strict=True)}
    if not inner:
        yield path, node
    for name, value in inner.items():
        yield from _leaves(value, path + name)


def results(a: Status, b: Status) -> Pairs:
    """What came of both, a line each; what neither has is left out."""
    left, right = _results(a), _results(b)
    return {name: (left[name], right[name]) for name in left if left[name] or right[name]}


def _results(status: Status) -> dict[str, Any]:
    progress, best, parents, verdict = status.progress, status.best, status.parents, status.verdict
    score = {name: _score(getattr(parents, name, None)) for name in ("father", "mother", "linear")}
    return {
        "phase": status.phase,
        "generation": f"{progress.step}/{progress.steps}" if progress else "",
        "candidates": f"{progress.candidates}/{progress.candidates_total}" if progress else "",
        "rejected": str(progress.rejected) if progress else "",
        "search rows: Father": score["father"],
        "search rows: Mother": score["mother"],
        "search rows: average": score["linear"],
        "search rows: best": _score(best.score) if best else "",
        "best genome": ", ".join(f"{gene} {value:.3f}" for gene, value in best.genome.items()) if best else "",
        "verdict": verdict.label if verdict else "",
        "verdict rows": str(verdict.questions) if verdict else "",
        "against Father": _versus(verdict.vs_father) if verdict else "",
        "against Mother": _versus(verdict.vs_mother) if verdict else "",
        "against average": _versus(verdict.vs_linear) if verdict else "",
        "child": status.child.uri if status.child else "",
        "running": f"{status.active_seconds} s",
        "image": status.image,
    }


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"


def _versus(versus: Versus) -> str:
    return f"{versus.difference:+.3f} ({versus.low:+.3f} to {versus.high:+.3f}) p = {versus.p:.2g} {versus.result}"


def _table(title: str, a: str, b: str, pairs: Pairs) -> Table:
    table = Table(title=title, title_justify="left", box=HORIZONTALS)
    for name in ("", a, b):
        table.add_column(name, overflow="fold")
    for name, values in pairs.items():
        table.add_row(escape(name), *("-" if value in (None, "") else escape(str(value)) for value in values))
    return table

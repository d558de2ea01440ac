"""`darwin show`: one run as it is now, finished or not."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
from rich.box import HORIZONTALS
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from darwinmerge.cli.arguments import takes_run
from darwinmerge.cli.pair import console
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import recorded
from darwinmerge.pipeline.plan import walk
from darwinmerge.report.state import Scored, State, costs_of, state_of
from darwinmerge.search.genome import GENES
from darwinmerge.store import open_store

EPILOG = """
\b
Examples:
  darwin show runs/my-merge                       a store is enough; the manifest isn't needed
  darwin show s3://bucket/runs/my-merge
  darwin show merge.yaml --json | jq .best.candidate.genome
"""


@click.command(epilog=EPILOG)
@takes_run
@click.option("--recent", default=8, show_default=True, type=click.IntRange(0), help="Candidates shown, the last ones.")
@click.option("--json", "as_json", is_flag=True, help="Print the state as JSON, with all candidates.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show(experiment: Experiment, recent: int, as_json: bool, debug: bool) -> None:
    """Show a run as it is: scores so far, the best candidate, the verdict.

    RUN is the store of a run (a folder, or s3://bucket/prefix) or its manifest. Nothing is computed and nothing
    changed: it may be asked at any time, while the run goes on too.
    """
    store = open_store(experiment.where.store)
    seen, costs = walk(experiment, recorded(store)), costs_of(store)
    found = state_of(experiment, seen, store.uri, costs)
    if as_json:
        click.echo(found.model_dump_json(by_alias=True, indent=1))
        return
    out = console()
    out.print(_head(found))
    if shown := found.candidates[max(0, len(found.candidates) - recent) :]:
        out.print(candidates(shown))
    if found.outcome:
        from darwinmerge.report.summary import build
        from darwinmerge.report.table import render

        out.print(render(build(experiment, seen, store, costs)))


def _head(found: State) -> Text:
    stage = f"{found.outcome.reason} {found.outcome.message}".strip() if found.outcome else found.progress.stage
    lines = [
        f"{found.name}: {found.state}: {stage}",
        f"  store       {found.store}",
        f"  last result {when(found.updated)}",
        *figures(found),
    ]
    return Text("\n".join(lines))


def figures(found: State) -> list[str]:
    """How far a run is, how good its models are, and where its child lies, a line each."""
    far, best = found.progress, found.best
    lines = [
        f"  generation  {far.step} of {far.steps}; {far.candidates} of {far.candidates_total} candidates, "
        f"{far.rejected} rejected; {far.questions:,} of {far.questions_total:,} questions",
    ]
    if far.parents:
        names = {"father": "Father", "mother": "Mother", "linear": "average"}
        lines.append("  search rows " + ", ".join(f"{names[name]} {score:.3f}" for name, score in far.parents.items()))
    if best:
        at = best.candidate
        genes = ", ".join(f"{gene} {value:.3f}" for gene, value in zip(GENES, at.genome.values(), strict=True))
        lines.append(
            f"  best        {best.score:.3f} on search rows: generation {at.generation}, candidate {at.index + 1}"
        )
        lines.append(f"              {genes}")
    if found.child:
        lines.append(f"  child       {found.child}")
    return lines


def candidates(
    shown: Sequence[Scored],
    title: str = "candidates, the last ones",
    took: Mapping[tuple[int, int], float] | None = None,
) -> Table:
    """Candidates as a table, a line each; with the seconds that each took, by generation and index, if given."""
    table = Table(title=title, title_justify="left", box=HORIZONTALS)
    for name in ("generation", "candidate", "score", *GENES, *(["seconds"] if took is not None else [])):
        table.add_column(name, justify="right")
    for scored in shown:
        at = scored.candidate
        genes = (f"{value:.3f}" for value in at.genome.values())
        score = escape(scored.rejected) or f"{scored.score:.3f}"
        seconds = (took or {}).get((at.generation, at.index))
        last = [] if took is None else ["" if seconds is None else f"{seconds:.1f}"]
        table.add_row(str(at.generation), f"{at.index + 1}", score, *genes, *last)
    return table


def when(seconds: float | None) -> str:
    """A moment as a person reads it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else "none yet"

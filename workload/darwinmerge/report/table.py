"""The summary as a person reads it: scores in a table, the verdict in sentences, and where things are."""

import io

from rich.box import HORIZONTALS
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import Results
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Comparison, VerdictSummary
from darwinmerge.report.lines import sentence
from darwinmerge.report.state import costs_of
from darwinmerge.report.summary import RunSummary, build
from darwinmerge.report.task import draw
from darwinmerge.store import Store, layout

NAMES = {"father": "Father", "mother": "Mother", "linear": "average", "child": "child"}


def render(summary: RunSummary) -> RenderableType:
    """The whole closing message of a run."""
    parts: list[RenderableType] = [_scores(summary)]
    if summary.verdict:
        parts.append(_verdict(summary.verdict))
    else:
        parts.append(Text(f"{summary.outcome.reason}: {summary.outcome.message}"))
    parts.append(_stages(summary))
    parts.append(Text("\n".join(_places(summary))))
    return Group(*parts)


def _scores(summary: RunSummary) -> Table:
    table = Table(title=f"{summary.name}: scores, with 95 % intervals", title_justify="left", box=HORIZONTALS)
    table.add_column("")
    for model in summary.models:
        table.add_column(NAMES[model.model], justify="right", style="bold" if model.model == "child" else "")
    searched = [(model.search, model.search_score, model.search_interval) for model in summary.models]
    judged = [(model.verdict, model.verdict_score, model.verdict_interval) for model in summary.models]
    for rows, columns in (("search", searched), ("verdict", judged)):
        known = next((scores for scores, *_ in columns if scores), ())
        for i, task in enumerate(known):
            cells = [_cell(s[i].value, (s[i].low, s[i].high)) if s else "-" for s, *_ in columns]
            table.add_row(f"{task.task}\n[dim]{task.n} {rows} rows[/dim]", *cells)
        means = ["-" if mean is None or interval is None else _cell(mean, interval) for _, mean, interval in columns]
        table.add_row(f"weighted mean\n[dim]{rows} rows[/dim]", *means, end_section=True)
    return table


def _cell(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f}\n[dim]{interval[0]:.3f}-{interval[1]:.3f}[/dim]"


def _verdict(verdict: VerdictSummary) -> Text:
    confidence = f"{100 * (1 - verdict.alpha):g} %"
    text = Text(f"\nVerdict: {verdict.label}: {sentence(verdict)}", style="bold")
    text.append(
        f"\n  {verdict.n} questions that the search never saw; sign-flip test at level {verdict.alpha:g}, "
        f"intervals {confidence}, look {verdict.looks}",
        style="not bold",
    )
    for name, versus in (("Father", verdict.vs_father), ("Mother", verdict.vs_mother), ("average", verdict.vs_linear)):
        text.append(f"\n  against {name:8} {_comparison(versus)}", style="not bold")
    return text


def _comparison(c: Comparison) -> str:
    return f"{c.difference:+.3f}  ({c.low:+.3f} to {c.high:+.3f})  p = {c.p:.2g}  {c.result}"


def _stages(summary: RunSummary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("stage", "left"), ("tasks", "right"), ("seconds", "right"), ("peak memory", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for cost in summary.stages:
        table.add_row(cost.stage, str(cost.tasks), f"{cost.seconds:.1f}", f"{cost.peak_bytes / 1e6:,.0f} MB")
    return table


def _places(summary: RunSummary) -> list[str]:
    lines = [""]
    if summary.mri:
        word = "informative" if summary.mri.informative else "not informative"
        lines.append(f"MRI spread: {summary.mri.spread:.2g} ({word})")
    if summary.health:
        flagged = f" ({', '.join(summary.health.flagged)})" if summary.health.flagged else ""
        lines.append(f"Health:     {summary.health.status}{flagged}")
    if summary.child:
        accounts = ", ".join(f"{count} {name}" for name, count in summary.child.accounts.items())
        lines += [
            f"Child:      {summary.child.path}",
            f"            {accounts}; sha256 {summary.child.sha256}",
        ]
        lines += [f"Hub:        {summary.child.hub}"] if summary.child.hub else []
        lines += ["            it stays in the store: see spec.output.publishIf"] if summary.child.withheld else []
    lines.append(f"Record:     {summary.store}/summary.json")
    return lines


def as_text(summary: RunSummary, width: int = 120) -> str:
    """The closing message without colours, as `summary.txt` keeps it."""
    console = Console(width=width, color_system=None, force_terminal=False, file=io.StringIO())
    with console.capture() as captured:
        console.print(render(summary))
    return captured.get()


def keep(experiment: Experiment, results: Results, store: Store) -> RunSummary:
    """The summary of a run, which is left in its store too, for people and for programs."""
    summary = build(experiment, walk(experiment, results), store, costs_of(store))
    store.replace(layout.SUMMARY, summary.model_dump_json(by_alias=True, indent=1).encode())
    store.replace(layout.SUMMARY_TEXT, as_text(summary).encode())
    draw(experiment, results, store)
    return summary

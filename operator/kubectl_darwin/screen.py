"""A run as one screen, and many as a table; pure: what is found goes in, what rich prints comes out.

The most important stands first: a terminal cuts off the end.
"""

from collections.abc import Sequence

from rich.box import HORIZONTALS
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from darwinmerge.cli.show import candidates, figures
from darwinmerge_operator.status import Condition
from kubectl_darwin.chart import spark
from kubectl_darwin.found import Found, age
from kubectl_darwin.remedy import REMEDIES, matters

COLOURS = {
    "Complete": "green",
    "Failed": "red",
    "Stalled": "red",
    "Suspended": "yellow",
    "Queued": "yellow",
    "Pending": "yellow",
}
BAR = 40
RECENT = 6  # candidates and events


def screen(found: Found, now: float) -> RenderableType:
    """All of a run."""
    parts: list[RenderableType] = [_head(found, now), *map(_condition, filter(matters, found.status.conditions))]
    if found.state:
        parts.append(Text("\n".join([*figures(found.state), *_beside(found), *_chart(found)])))
    if found.working:
        parts += ["", _working(found, now)]
    if found.state and found.state.candidates:
        parts += ["", candidates(found.state.candidates[-RECENT:])]
    if found.events:
        parts += ["", _events(found, now)]
    parts += [Text(f"not shown: {reason}", style="yellow") for reason in found.missing]
    return Group(*parts)


def one_line(found: Found) -> str:
    """A run in a line, for a log."""
    shown = found.status.shown
    rest = f"{shown.gen} {shown.evals} {shown.best} {shown.vs_parents} {shown.eta}" if shown else ""
    return " ".join(f"{found.namespace}/{found.name} {phase_of(found)} {rest}".split())


def phase_of(found: Found) -> str:
    """The phase, or what there is before any operator has looked."""
    return found.status.phase or "not seen by an operator yet"


def table(runs: Sequence[Found], now: float, everywhere: bool) -> Table:
    """Many runs, the columns of `kubectl get dm`."""
    names = ("NAME", "PHASE", "GEN", "EVALS", "BEST", "VS-PARENTS", "ETA", "AGE")
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in (*(["NAMESPACE"] if everywhere else []), *names):
        made.add_column(name, no_wrap=True)
    for found in runs:
        shown, phase = found.status.shown, phase_of(found)
        told = [getattr(shown, one) for one in ("gen", "evals", "best", "vs_parents", "eta")] if shown else [""] * 5
        cells = [*([found.namespace] if everywhere else []), found.name, phase, *told, age(found.created, now)]
        made.add_row(*map(escape, cells), style=COLOURS.get(phase, ""))
    return made


def _head(found: Found, now: float) -> Text:
    phase, progress, shown = phase_of(found), found.status.progress, found.status.shown
    text = Text(f"{found.name} in {found.namespace}: ")
    text.append(phase, style=f"bold {COLOURS.get(phase, '')}".strip())
    text.append(f": {progress.stage}" if progress and phase not in COLOURS else "")
    text.append(f"  {age(found.created, now)} old")
    if progress and progress.questions_total:
        share = min(1.0, progress.questions / progress.questions_total)
        filled = round(share * BAR)
        text.append(f"\n  {'█' * filled}{'░' * (BAR - filled)} {share:4.0%}")
        text.append(f"  done about {shown.eta}" if shown and shown.eta else "")
    return text


def _condition(condition: Condition) -> Text:
    """What is so, in the words of whoever found it; and what helps."""
    wrong = condition.type in ("Stalled", "Failed") or condition.status == "False"
    kind = condition.type if condition.status == "True" else f"not {condition.type}"
    same = condition.reason == condition.type
    text = Text(f"  {kind}: ", style="red" if wrong and condition.type != "MRIInformative" else "")
    text.append(": ".join(filter(None, ("" if same else condition.reason, condition.message))))
    remedy = REMEDIES.get(condition.reason) if condition.type in ("Stalled", "Failed", "Suspended") else None
    return text.append(f"\n    what helps: {remedy}" if remedy else "")


def _beside(found: Found) -> list[str]:
    shown = found.status.shown
    beside = "the child beside Father/Mother on verdict rows, * told apart"
    where = beside if found.status.verdict else "the best beside the better parent, search rows"
    return [f"  difference  {shown.vs_parents} ({where})"] if shown and shown.vs_parents else []


def _chart(found: Found) -> list[str]:
    parents = found.state.progress.parents if found.state else {}
    known = [parents[name] for name in ("father", "mother") if name in parents]
    return spark(found.fitness, max(known) if len(known) == 2 else None)


def _working(found: Found, now: float) -> Table:
    made = Table(title="Jobs", title_justify="left", box=HORIZONTALS)
    for name in ("for", "Pod", "node", "state", "age"):
        made.add_column(name, overflow="fold")
    for one in found.working:
        made.add_row(*map(escape, (one.what, one.name, one.node, one.state, age(one.since, now))))
    return made


def _events(found: Found, now: float) -> Table:
    made = Table(title="events, the last ones", title_justify="left", box=HORIZONTALS)
    for name in ("age", "reason", "message"):
        made.add_column(name, overflow="fold")
    for event in found.events[-RECENT:]:
        made.add_row(age(event.at, now), escape(event.reason), escape(event.message))
    return made

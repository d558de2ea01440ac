"""The picture of the verdict: where four models stand on the verdict rows, and the child's paired differences."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from darwinmerge.report.facts import NAMES, Facts
from darwinmerge.report.svg import COLOURS, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"child": "o", "father": "s", "mother": "D", "linear": "^"}
Line = tuple[str, str, float, tuple[float, float], str]  # colour, name, value, interval, what is said of it


def draw_verdict(facts: Facts, drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """Means with their intervals, and differences with theirs."""
    verdict = facts.seen.verdict
    assert verdict
    narrow = shape == "narrow"
    drawing.set_size_inches(drawing.get_figwidth(), 4.4 if narrow else 2.5)
    if not narrow:
        drawing.set_layout_engine("constrained", wspace=0.1)
    means, differences = drawing.subplots(2, 1) if narrow else drawing.subplots(1, 2)
    models = {model.model: model for model in facts.summary.models}
    lines: list[Line] = []
    for name in ("child", "father", "mother", "linear"):
        score, interval = models[name].verdict_score, models[name].verdict_interval
        assert score is not None and interval is not None
        lines.append((name, NAMES[name], score, interval, f"{score:.3f}"))
    _lines(means, lines)
    means.set_title("weighted mean, verdict rows")

    versus = {"father": verdict.vs_father, "mother": verdict.vs_mother, "linear": verdict.vs_linear}
    lines = [
        (name, f"\N{MINUS SIGN} {NAMES[name]}", c.difference, (c.low, c.high), f"{c.difference:+.3f}\np = {c.p:.2g}")
        for name, c in versus.items()
    ]
    _lines(differences, lines)
    differences.axvline(0, color=COLOURS["soft"], lw=1)
    low, high = differences.get_xlim()
    differences.set_xlim(min(low, -0.02), max(high, 0.02))
    differences.set_title("child minus the other")
    return {}


def _lines(axes: "Axes", lines: Sequence[Line]) -> None:
    for y, (name, _, value, (low, high), said) in enumerate(lines):
        axes.plot([low, high], [y, y], color=COLOURS[name], lw=3, alpha=0.45)
        axes.plot([value], [y], color=COLOURS[name], marker=MARKERS[name], ms=8, mec=COLOURS["paper"], mew=0.8)
        axes.text(1.02, y, said, transform=axes.get_yaxis_transform(), va="center", size=9, linespacing=1.3)
    axes.set_yticks(range(len(lines)), [label for _, label, *_ in lines])
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=COLOURS["ink"])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)

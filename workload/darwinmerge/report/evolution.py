"""Pictures of the search: fitness by generation, and the genes of all candidates beside their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from darwinmerge.pipeline.results import Rejected, ScoreSummary
from darwinmerge.report.facts import NAMES, REFERENCES, Facts
from darwinmerge.report.svg import COLOURS, Shape
from darwinmerge.search.genome import GENES, Genome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

APART = 0.055  # between labels of lines, as a share of the axis
CHILD: dict[str, Any] = {"color": COLOURS["child"], "edgecolor": COLOURS["paper"], "lw": 0.8}
STAR: dict[str, Any] = {"s": 120, "marker": "*"}
FAR = 2.0  # a line further from the candidates than so many times their own range is named at the edge


@dataclass(frozen=True)
class Dot:
    """A candidate in a picture."""

    generation: int
    x: float  # the generation's number, and a little more or less, so that its candidates stand beside each other
    genome: Genome
    score: float | None
    best: bool  # the winner, or the best so far
    title: str


def dots(facts: Facts) -> list[Dot]:
    """All candidates with a result, in their order."""
    best = facts.best
    found = []
    for generation in facts.seen.generations:
        of = len(generation.genomes)
        for index, (genome, result) in enumerate(zip(generation.genomes, generation.results, strict=True)):
            if result is None:
                continue
            x = generation.number + (0.56 * (index / (of - 1) - 0.5) if of > 1 else 0.0)
            first = best is not None and (best.generation, best.index) == (generation.number, index)
            score = result.score if isinstance(result, ScoreSummary) else None
            title = _title(generation.number, index, genome, result) + (f" - {facts.rank}" if first else "")
            found.append(Dot(generation.number, x, genome, score, first, title))
    return found


def _title(generation: int, index: int, genome: Genome, result: ScoreSummary | Rejected) -> str:
    genes = ", ".join(f"{gene} {value:.3f}" for gene, value in zip(GENES, genome.values(), strict=True))
    told = f"{result.score:.4f}" if isinstance(result, ScoreSummary) else f"rejected, {result.reason}"
    return f"generation {generation}, candidate {index + 1}: {told}; {genes}"


def draw_fitness(facts: Facts, drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """Scores on search rows: candidates, the best up to each, generations' means, and the parents as lines."""
    narrow = shape == "narrow"
    drawing.set_size_inches(drawing.get_figwidth(), 3.6 if narrow else 4.2)
    axes = drawing.add_subplot()
    found = dots(facts)
    scored = [(dot, dot.score) for dot in found if dot.score is not None]
    scores = [score for _, score in scored]
    low, high = _range(facts, scores)
    axes.set_ylim(low, high)
    last = max((dot.generation for dot in found), default=1)
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xticks(_ticks(last, 6 if narrow else 16))
    axes.set_xlabel("generation")
    axes.set_title("weighted mean on search rows")
    axes.grid(axis="y")
    _references(axes, facts, narrow)
    if scored:
        best = list(accumulate(scores, max))
        axes.step(
            [dot.x for dot, _ in scored], best, where="post", color=COLOURS["child"], lw=1.6, label="best by then"
        )
    for generation in facts.seen.generations:
        inside = [score for dot, score in scored if dot.generation == generation.number]
        if inside:
            mean, x = sum(inside) / len(inside), generation.number
            label = "mean of a generation" if generation.number == 1 else ""
            axes.plot([x - 0.36, x + 0.36], [mean, mean], color=COLOURS["soft"], lw=1, ls=(0, (1, 1.5)), label=label)
    titles: dict[str, Sequence[str]] = {}
    others, star = [(d.x, d) for d, _ in scored if not d.best], [(d.x, d) for d, _ in scored if d.best]
    titles |= _put(axes, "candidates", others, CHILD | {"s": 48, "label": "candidate"})
    titles |= _put(axes, "best", star, CHILD | STAR | {"label": facts.rank})
    rejected = [(dot.x, dot) for dot in found if dot.score is None]
    cross = {"marker": "x", "color": COLOURS["bad"], "s": 34, "lw": 1.6, "label": "rejected"}
    titles |= _put(axes, "rejected", rejected, cross, low + 0.03 * (high - low))
    if found:
        drawing.legend(loc="outside lower left", ncols=2 if narrow else 5, handletextpad=0.5, columnspacing=1.4)
    return titles


def _put(
    axes: "Axes", gid: str, placed: Sequence[tuple[float, Dot]], style: Mapping[str, Any], rejected: float = 0.0
) -> dict[str, Sequence[str]]:
    """Put candidates at their scores, those without one at the height `rejected`; their titles."""
    if not placed:
        return {}
    heights = [rejected if dot.score is None else dot.score for _, dot in placed]
    axes.scatter([x for x, _ in placed], heights, gid=gid, zorder=4, clip_on=False, **style)
    return {gid: [dot.title for _, dot in placed]}


def _range(facts: Facts, scores: Sequence[float]) -> tuple[float, float]:
    """Limits of the score axis: the candidates and what lies near them."""
    references = [summary.score for summary in facts.seen.parents.values()]
    shown = list(scores) or references or [0.0, 1.0]
    span = max(max(shown) - min(shown), 0.01)
    near = [x for x in references if min(shown) - FAR * span <= x <= max(shown) + FAR * span]
    low, high = min([*shown, *near]), max([*shown, *near])
    margin = 0.14 * max(high - low, 0.01)
    return low - margin, high + margin


def _references(axes: "Axes", facts: Facts, narrow: bool) -> None:
    """Parents and plain average as lines, named at the right; names are moved apart, and to the edge for far lines."""
    low, high = axes.get_ylim()
    known = [(name, facts.seen.parents[name].score) for name in REFERENCES if name in facts.seen.parents]
    places: list[float] = []
    for name, score in sorted(known, key=lambda pair: pair[1]):
        inside = low <= score <= high
        if inside:
            axes.axhline(score, color=COLOURS[name], lw=1.4, ls="-" if name != "linear" else (0, (5, 2)))
        place = min(max((score - low) / (high - low), 0.02), 0.98)
        place = max(place, places[-1] + APART * (1.4 if narrow else 1)) if places else place
        places.append(place)
        arrow = "" if inside else " \N{DOWNWARDS ARROW}" if score < low else " \N{UPWARDS ARROW}"
        short = "average" if narrow and name == "linear" else NAMES[name]
        text = f"{short} {score:.3f}{arrow}"
        axes.text(1.01, place, text, transform=axes.transAxes, va="center", color=COLOURS[name], size=9)


def _ticks(last: int, most: int) -> list[int]:
    step = -(-last // most)
    return list(range(1, last + 1, step))


def draw_genes(facts: Facts, drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """A small picture a gene that was searched: its value in every candidate, and what that candidate scored."""
    search = facts.seen.search
    assert search
    scored = [dot for dot in dots(facts) if dot.score is not None]
    columns = min(len(search.active), 2 if shape == "narrow" else 3)
    lines = -(-len(search.active) // columns)
    drawing.set_size_inches(drawing.get_figwidth(), (1.75 if shape == "narrow" else 2.5) * lines)
    drawing.set_layout_engine("constrained", wspace=0.04, hspace=0.06)
    grid = drawing.subplots(lines, columns, sharey=True, squeeze=False)
    titles: dict[str, Sequence[str]] = {}
    for place, axes in enumerate(grid.flat):
        if place >= len(search.active):
            axes.set_visible(False)
            continue
        gene = search.active[place]
        axes.set_title(gene)
        bounds = getattr(facts.experiment.spec.search.bounds, gene)
        margin = 0.04 * (bounds.max - bounds.min)
        axes.set_xlim(bounds.min - margin, bounds.max + margin)
        axes.grid()
        axes.margins(y=0.12)
        if place % columns == 0:
            axes.set_ylabel("score")
        placed = [(float(getattr(dot.genome, gene)), dot) for dot in scored]
        others, star = [p for p in placed if not p[1].best], [p for p in placed if p[1].best]
        titles |= _put(axes, f"{gene}-others", others, {"color": COLOURS["soft"], "s": 26, "alpha": 0.75, "lw": 0})
        titles |= _put(axes, f"{gene}-best", star, CHILD | STAR)
    return titles

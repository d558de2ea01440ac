"""Pictures of layers: the MRI's prescriptions by layer and kind, and the child's health beside its parents'."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from darwinmerge.experiment.kinds import Kind, order_of
from darwinmerge.health.compare import FAINT, LayerHealth
from darwinmerge.mri.table import TensorRow
from darwinmerge.report.facts import Facts
from darwinmerge.report.svg import COLOURS, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTSIDE = "-"  # the layer of tensors that belong to none


@dataclass(frozen=True)
class Cell:
    """Tensors of one kind in one layer."""

    ratio: float | None  # size-weighted mean prescription of those that differ; None: none of them does
    title: str


def cells(rows: Sequence[TensorRow]) -> dict[tuple[str, str], Cell]:
    """By layer and kind."""
    grouped: dict[tuple[str, str], list[TensorRow]] = {}
    for row in rows:
        if row.presence != "not-a-weight":
            grouped.setdefault((row.layer, row.kind), []).append(row)
    return {place: _cell(*place, found) for place, found in grouped.items()}


def _cell(layer: str, kind: str, rows: Sequence[TensorRow]) -> Cell:
    differ = [row for row in rows if row.presence == "both" and row.size]
    where = f"{'outside layers' if layer == OUTSIDE else f'layer {layer}'}, {kind}"
    if not differ:
        return Cell(None, f"{where}: {_tensors(rows)}, none differs in both parents")
    ratios = [row.ratio_b for row in differ]
    ratio = float(np.average(ratios, weights=[row.size for row in differ]))
    return Cell(ratio, f"{where}: {ratio:.5f}; {_tensors(differ)}, {min(ratios):.5f} to {max(ratios):.5f}")


def _tensors(rows: Sequence[TensorRow]) -> str:
    return f"{len(rows)} tensor{'s' * (len(rows) != 1)}"


def reach(facts: Facts) -> float:
    """The deviation from one half that is drawn in full colour: never less than twice what is called informative."""
    most = max((abs(cell.ratio - 0.5) for cell in cells(facts.table).values() if cell.ratio is not None), default=0.0)
    return max(most, 2 * facts.experiment.spec.mri.min_spread)


def draw_mri(facts: Facts, drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """The heat map: the more of Father's or Mother's colour the more of them is prescribed, none where neither is.

    Squares lie on neutral ones, which show where the colour above them is too thin to be seen.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    found, full = cells(facts.table), reach(facts)
    layers = sorted({layer for layer, _ in found}, key=order_of)
    kinds = [kind for kind in get_args(Kind) if any(kind == other for _, other in found)]
    narrow = shape == "narrow"
    axes = drawing.add_subplot()
    places = {place: (layers.index(place[0]), kinds.index(place[1])) for place in found}
    if narrow:
        drawing.set_size_inches(drawing.get_figwidth(), 0.9 + 0.15 * len(layers))
        places = {place: (y, x) for place, (x, y) in places.items()}
    else:
        drawing.set_size_inches(drawing.get_figwidth(), 0.8 + 0.32 * len(kinds))
    squares = [Rectangle((x - 0.46, y - 0.46), 0.92, 0.92) for x, y in places.values()]
    ratios = [cell.ratio for cell in found.values()]
    grounds = [COLOURS["grid" if r is None else "raised"] for r in ratios]
    colours = [COLOURS["father" if r is None or r < 0.5 else "mother"] for r in ratios]
    depths = [0.0 if r is None else min(abs(r - 0.5) / full, 1.0) for r in ratios]
    axes.add_collection(PatchCollection(squares, facecolors=grounds, edgecolors="none"))
    drawn = PatchCollection(squares, facecolors=colours, alpha=depths, edgecolors="none", gid="cells")
    axes.add_collection(drawn)
    across, down = (kinds, layers) if narrow else (layers, kinds)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(len(down) - 0.5, -0.5)
    _name_layers(axes, layers, narrow)
    if narrow:
        axes.set_xticks(range(len(kinds)), kinds, rotation=35, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
    else:
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_xlabel("layer")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return {"cells": [cell.title for cell in found.values()]}


def _name_layers(axes: "Axes", layers: Sequence[str], down: bool = False) -> None:
    """As many names as there is room for; the first of each tower in full."""
    step = max(1, -(-len(layers) // (40 if down else 20)))
    shown = [i for i, layer in enumerate(layers) if order_of(layer)[1] % step == 0 or layer == OUTSIDE]
    names = [layers[i] if order_of(layers[i])[1] <= 0 else str(order_of(layers[i])[1]) for i in shown]
    (axes.set_yticks if down else axes.set_xticks)(shown, names)


def draw_health(facts: Facts, drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """Importance of each layer in child and parents, how far it moved from Father, and how far its output did."""
    assert facts.health
    layers = sorted(facts.health.layers, key=lambda layer: order_of(layer.layer))
    narrow, run = shape == "narrow", any(layer.shift for layer in layers)
    ratios = (3, 2, 2) if run else (3, 2)
    drawing.set_size_inches(drawing.get_figwidth(), (0.9 if narrow else 0.86) * (sum(ratios) + 0.35))
    importance, moved, *output = drawing.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    xs = range(len(layers))
    for name, mark, size in (("father", "s", 5 if narrow else 8), ("mother", "D", 4 if narrow else 6)):
        values = [getattr(layer, name) for layer in layers]
        style = {"ls": "-" if name == "father" else (0, (4, 2)), "lw": 1.2, "marker": mark, "ms": size, "mfc": "none"}
        importance.plot(xs, values, color=COLOURS[name], label=name.title(), **style)
    titles: dict[str, Sequence[str]] = {}
    said = [_health_title(layer.layer, layer.child, layer.father, layer.mother, layer.flag) for layer in layers]
    dots = {"color": COLOURS["child"], "edgecolor": COLOURS["paper"], "s": 8 if narrow else 16, "lw": 0, "zorder": 3}
    importance.scatter(xs, [layer.child for layer in layers], gid="importance", label="child", **dots)
    titles["importance"] = said
    importance.set_title("importance of a layer")

    limit = facts.experiment.spec.health.displacement
    known = [(x, min(layer.moved, 1.5 * limit)) for x, layer in enumerate(layers) if layer.moved is not None]
    moved.axhline(0, color=COLOURS["father"], lw=1.2)
    moved.axhline(1, color=COLOURS["mother"], lw=1.2, ls=(0, (4, 2)))
    if known:
        moved.scatter([x for x, _ in known], [y for _, y in known], gid="moved", **dots)
        titles["moved"] = [f"layer {layer.layer}: {layer.moved:.3f}" for layer in layers if layer.moved is not None]
        if max(y for _, y in known) > limit:
            moved.axhline(limit, color=COLOURS["bad"], lw=1)
    moved.set_title("distance from Father, Mother's being 1")
    moved.set_ylim(-0.1, None)
    for axes in output:
        titles["output"] = _draw_output(axes, layers, dots)
    pictures = (importance, moved, *output)
    for axes in pictures:
        axes.grid(axis="y")
        for x, layer in enumerate(layers):
            if layer.flag:
                axes.axvline(x, color=COLOURS["bad"], lw=6, alpha=0.25, zorder=0)
    pictures[-1].set_xlabel("layer")
    _name_layers(pictures[-1], [layer.layer for layer in layers])
    drawing.legend(*importance.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return titles


def _draw_output(axes: "Axes", layers: Sequence[LayerHealth], dots: dict[str, Any]) -> list[str]:
    """How far a layer's output is from the nearer parent's, and the parents' from each other; on a scale of logs."""
    run = [(x, layer.layer, layer.shift) for x, layer in enumerate(layers) if layer.shift]
    least = FAINT / 10  # nothing is drawn lower: on such a scale there is no nought
    heights = [min(max(shift.child, least), 100) for _, _, shift in run]
    parents = [min(max(shift.parents, least), 100) for _, _, shift in run]
    axes.plot(
        [x for x, _, _ in run], parents, color=COLOURS["mother"], lw=1.2, ls=(0, (4, 2)), marker="D", ms=4, mfc="none"
    )
    axes.scatter([x for x, _, _ in run], heights, gid="output", **dots)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title("output: child's, and parents' apart")
    return [
        f"layer {name}: {shift.child:.4g} from the nearer parent's, which are {shift.parents:.4g} apart"
        for _, name, shift in run
    ]


def _health_title(layer: str, child: float, father: float, mother: float, flag: str) -> str:
    told = f"layer {layer}: child {child:.4f}, Father {father:.4f}, Mother {mother:.4f}"
    return f"{told} - {flag}" if flag else told

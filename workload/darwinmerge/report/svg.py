"""Figures by matplotlib, as SVG that belongs to its page.

The page's style sheet gives the colours, so that one figure is right in light and dark and on paper; matplotlib draws
with marks that are exchanged for CSS variables. Text stays text, in the page's own font. Each figure is drawn twice,
wide for a desk and narrow for a phone, and the style sheet shows one: a drawing that is merely made smaller can't be
read. Dots carry a title, which browsers show as a tooltip. The same figure is the same bytes.
"""

import io
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from darwinmerge.report.markup import Html, element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shape = Literal["wide", "narrow"]
Titles = Mapping[str, Sequence[str]]  # by the gid of a collection of dots: one for each, in order
Draw = Callable[["Figure", Shape], Titles]

INCHES: dict[Shape, float] = {"wide": 10.0, "narrow": 3.7}  # as shown: 960 px beside 355 px, and a point is a point
NAMED = ("ink", "soft", "grid", "paper", "father", "mother", "linear", "child", "bad", "raised")
COLOURS = {name: f"#0d0a{number:02x}" for number, name in enumerate(NAMED)}  # marks for the style sheet's `--<name>`
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.solid_capstyle": "round",
}


def figure(name: str, says: str, caption: str, draw: Draw) -> Html:
    """A figure in both shapes; `name` is unique on the page, and `says` is for those who don't see it."""
    shapes = (Html(_svg(f"{name}-{shape}", shape, says, draw)) for shape in INCHES)
    return element("figure", *shapes, element("figcaption", caption))


def _svg(name: str, shape: Shape, says: str, draw: Draw) -> str:
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())  # a pod's own folders are read-only
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}):
        drawing = Figure(figsize=(INCHES[shape], 3), layout="constrained")
        titles = draw(drawing, shape)
        out = io.StringIO()
        drawing.savefig(out, format="svg", transparent=True)
    return _adopt(out.getvalue(), name, shape, says, titles)


def _adopt(svg: str, name: str, shape: Shape, says: str, titles: Titles) -> str:
    """matplotlib's document as an element of a page."""
    for prefix, uri in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(svg)
    for unwanted in (f"{{{SVG}}}metadata", f"{{{SVG}}}defs"):  # a date, and a style sheet for the whole page
        found = root.find(unwanted)
        if found is not None:
            root.remove(found)
    for group in list(root.iter(f"{{{SVG}}}g")):
        told = titles.get(group.get("id", ""))
        if told:
            _entitle(group, told)
    for part in root.iter():
        if "id" in part.attrib:
            part.set("id", f"{name}-{part.attrib['id']}")
        reference = part.get(f"{{{XLINK}}}href")
        if reference:
            part.set(f"{{{XLINK}}}href", f"#{name}-{reference.removeprefix('#')}")
        for place in ("style", "clip-path"):
            if place in part.attrib:
                part.set(place, _local(part.attrib[place], name))
    for size in ("width", "height"):
        del root.attrib[size]
    root.attrib |= {"class": shape, "role": "img", "aria-label": says}
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r">\s+<", "><", text)


def _local(style: str, name: str) -> str:
    style = re.sub(r"font-family: [^;]*; ?", "", style)
    style = style.replace("url(#", f"url(#{name}-")
    for colour, mark in COLOURS.items():
        style = style.replace(mark, f"var(--{colour})")
    return style


def _entitle(group: ElementTree.Element, titles: Sequence[str]) -> None:
    defined = {part for defs in group.iter(f"{{{SVG}}}defs") for part in defs.iter()}
    marks = [part for tag in ("use", "path") for part in group.iter(f"{{{SVG}}}{tag}") if part not in defined]
    for mark, title in zip(marks, titles, strict=True):
        ElementTree.SubElement(mark, f"{{{SVG}}}title").text = title

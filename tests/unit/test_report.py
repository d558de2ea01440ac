"""The report's own parts: markup that no name can break out of, and figures that belong to their page."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from darwinmerge.report.markup import Html, code, element, html, table
from darwinmerge.report.svg import COLOURS, SVG, XLINK, Shape, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOSTILE = '"><script>alert(1)</script>'


def draw(drawing: "Figure", shape: Shape) -> dict[str, Sequence[str]]:
    """Three dots, a line and a text that mathematical typesetting would stumble over."""
    axes = drawing.add_subplot()
    axes.scatter([1, 2, 3], [1, 2, 3], gid="dots", color=COLOURS["child"])
    axes.plot([1, 3], [2, 2], color=COLOURS["father"])
    axes.set_title(r"$\frac{ < & " + shape)
    return {"dots": ["one", HOSTILE, "three"]}


def drawn() -> list[ElementTree.Element]:
    """The two shapes of a figure."""
    return [
        found for found in ElementTree.fromstring(figure("f", "says", "caption", draw)) if found.tag.endswith("svg")
    ]


def test_what_is_not_markup_is_escaped_wherever_it_stands() -> None:
    for made in (
        html(HOSTILE),
        element("p", HOSTILE),
        element("p", title=HOSTILE),
        table([HOSTILE], [[HOSTILE]]),
        code(HOSTILE),
    ):
        assert isinstance(made, Html)
        assert "<script" not in made


def test_markup_is_not_escaped_again() -> None:
    assert element("p", element("b", "a & b")) == "<p><b>a &amp; b</b></p>"


def test_a_figure_is_drawn_wide_for_a_desk_and_narrow_for_a_phone() -> None:
    assert [svg.get("class") for svg in drawn()] == ["wide", "narrow"]
    wide, narrow = (float(str(svg.get("viewBox")).split()[2]) for svg in drawn())
    assert wide > 2 * narrow


def test_letters_are_as_great_in_both_shapes() -> None:
    sizes = [set(re.findall(r"font-size: (\d+)px", ElementTree.tostring(svg).decode())) for svg in drawn()]
    assert sizes[0] == sizes[1] == {"9", "10"}


def test_each_dot_has_its_title() -> None:
    for svg in drawn():
        dots = [use for use in svg.iter(f"{{{SVG}}}use") if use.find(f"{{{SVG}}}title") is not None]
        assert [dot.findtext(f"{{{SVG}}}title") for dot in dots] == ["one", HOSTILE, "three"]


def test_colours_and_letters_are_the_page_s() -> None:
    text = figure("f", "says", "caption", draw)
    assert not re.search(r"#0d0a|font-family", text)
    assert {"child", "father", "ink"} <= set(re.findall(r"var\(--(\w+)\)", text))


def test_names_within_a_figure_are_its_own() -> None:
    for svg in drawn():
        names = Counter(part.get("id") for part in svg.iter() if part.get("id"))
        assert set(names.values()) == {1}
        assert all(str(name).startswith(f"f-{svg.get('class')}-") for name in names)
        referred = {str(use.get(f"{{{XLINK}}}href"))[1:] for use in svg.iter(f"{{{SVG}}}use")}
        referred |= {part.attrib["clip-path"][5:-1] for part in svg.iter() if "clip-path" in part.attrib}
        assert referred <= set(names)


def test_a_figure_carries_no_style_sheet_and_no_date() -> None:
    for svg in drawn():
        assert not [part.tag for part in svg.iter() if part.tag.endswith(("style", "metadata"))]


def test_the_same_figure_is_the_same_bytes() -> None:
    assert figure("f", "says", "caption", draw) == figure("f", "says", "caption", draw)

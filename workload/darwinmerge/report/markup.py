"""HTML from Python: what is not markup already is escaped, so that a hostile name can't be but a name."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def html(*content: object) -> Html:
    """Pieces, one after the other, escaped where they aren't markup."""
    return Html("".join(x if isinstance(x, Html) else escape(str(x)) for x in content))


def element(tag: str, *content: object, **attributes: object) -> Html:
    """An element; `class_="x"` is its class."""
    told = "".join(f' {name.rstrip("_")}="{escape(str(value))}"' for name, value in attributes.items() if value != "")
    return Html(f"<{tag}{told}>{html(*content)}</{tag}>")


def paragraph(*content: object) -> Html:
    """A paragraph."""
    return element("p", *content)


def code(*lines: str) -> Html:
    """Lines to be copied."""
    return element("pre", element("code", "\n".join(lines)))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: int = 1) -> Html:
    """A table that scrolls within itself; all but the first `words` columns are numbers."""

    def line(tag: str, cells: Sequence[object]) -> Html:
        kinds = ("" if i < words else "number" for i in range(len(cells)))
        return element("tr", *(element(tag, cell, class_=kind) for cell, kind in zip(cells, kinds, strict=True)))

    body = html(*(line("td", cells) for cells in rows))
    filled = element("table", element("thead", line("th", head)), element("tbody", body))
    return element("div", filled, class_="scroll", tabindex=0)


def details(title: str, *content: object) -> Html:
    """What is shown when it is asked for."""
    return element("details", element("summary", title), *content)


def section(name: str, title: str, *content: object) -> Html:
    """A part of the page, which `#name` leads to."""
    return element("section", element("h2", title), *content, id=name)

"""The manual is the one that the types say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from darwinmerge.experiment.manifest import Manifest
from darwinmerge.experiment.manual import text

FILE = Path(__file__).parents[2] / "docs" / "manifest.md"


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for info in annotation.model_fields.values():
            yield from models(info.annotation)
    for part in get_args(annotation):
        yield from models(part)


def test_the_manual_in_the_repository_is_the_one_that_the_types_say() -> None:
    assert FILE.read_text() == text(), "run `make docs`"


def test_every_field_of_every_type_has_a_row_with_its_description() -> None:
    told = text()
    for model in models(Manifest):
        for name, info in model.model_fields.items():
            assert info.description
            assert f"| `{info.alias or name}` |" in told
            assert " ".join(info.description.split()).replace("|", "\\|") in told


def test_links_lead_to_sections() -> None:
    titles = [line.removeprefix("## ") for line in text().splitlines() if line.startswith("## ")]
    anchors = {"".join(c for c in title.lower() if c.isalnum() or c in "-_") for title in titles}
    linked = {part.partition(")")[0] for part in text().split("](#")[1:]}
    assert linked
    assert linked <= anchors


def test_a_default_of_a_type_within_another_is_told_where_it_differs() -> None:
    assert (
        "| `densityB` | [spec.search.bounds.densityA](#specsearchboundsdensitya) | `{min: 0.1, max: 1.0}` |" in text()
    )

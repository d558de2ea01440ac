"""A manifest as a person would have written it: YAML in which each field stands under what its type says of it.

The comments are the types' own docstrings, so that they can't say anything else; each is told once. What else a section
could hold is named at its end.
"""

import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from darwinmerge.experiment.manifest import Manifest

WIDTH = 110
SILENT = ("apiVersion", "kind", "name")  # they speak for themselves


def written(document: Mapping[str, Any], model: type[Manifest]) -> str:
    """A manifest's document, camelCase as in a file, as commented YAML."""
    return "\n".join(_mapping(document, model, "", set())) + "\n"


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, or as the items of a list or a mapping, or if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) not in (tuple, dict, Annotated, Union, types.UnionType):
        return None
    return next((found for part in get_args(annotation) if (found := model_in(part))), None)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by their names in a file."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _mapping(document: Mapping[str, Any], model: type[BaseModel], indent: str, told: set[str]) -> Iterator[str]:
    fields = fields_of(model)
    for name, value in document.items():
        info = fields[name]
        if info.description and info.description not in told and name not in SILENT:
            told.add(info.description)
            yield from _comment(info.description, indent)
        yield from _field(name, value, model_in(info.annotation), indent, told)
    others = ", ".join(name for name in fields if name not in document)
    if others and f"{model.__name__}: {others}" not in told:
        told.add(f"{model.__name__}: {others}")
        yield from _comment(f"Also here, each with a default: {others}.", indent)


def _field(name: str, value: Any, inner: type[BaseModel] | None, indent: str, told: set[str]) -> Iterator[str]:
    if isinstance(value, Mapping) and inner:
        yield f"{indent}{name}:"
        yield from _mapping(value, inner, indent + "  ", told)
    elif isinstance(value, list | tuple) and inner:
        yield f"{indent}{name}:"
        for item in value:
            lines = list(_mapping(item, inner, indent + "    ", told))
            yield from _item(lines, indent)
    else:
        text = yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True)
        yield f"{indent}{name}: {text.strip()[1:-1]}"


def _item(lines: list[str], indent: str) -> Iterator[str]:
    """The lines of a mapping as an item: its first field has the dash, and comments before it stay before it."""
    first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
    for number, line in enumerate(lines):
        yield f"{indent}  - {line.lstrip()}" if number == first else line


def _comment(text: str, indent: str) -> Iterator[str]:
    plain = " ".join(text.split())
    yield from (f"{indent}# {line}" for line in textwrap.wrap(plain, WIDTH - len(indent), break_long_words=False))

"""The manifest's manual, written from its types: `python -m darwinmerge.experiment.manual docs/manifest.md`.

A section a type, in the order in which a manifest has them, and a row a field. Bounds and choices are those of the JSON
Schema that pydantic makes of the type, so that the manual can't promise what validation refuses.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from darwinmerge.experiment.experiment import MAY_CHANGE
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.experiment.written import fields_of, model_in

_MAY_CHANGE = ", ".join(f"`{path}`" for path in MAY_CHANGE)
HEAD = f"""<!-- Made by `make docs` from the types in workload/darwinmerge/experiment; don't edit. -->
# The manifest

An experiment is one YAML file, a `DarwinMerge`: `darwin init` writes one, `darwin validate` checks it and says what it
costs, and both `darwin run` and `kubectl apply` take it. This is every field of it. What has a default may be left out,
and mostly should: the defaults are the published values, where there are any. An unknown field is an error.

Once a run has begun, only these fields of `spec` may change, since no result depends on them: {_MAY_CHANGE}. The
parents may move, but they are the same ones.
"""
CLUSTER = """
## spec.cluster

Kubernetes' part: Pods, resources, queue, deadlines, credentials. The engine doesn't read it, and nothing in it moves a
result by a bit. `kubectl explain dm.spec.cluster --recursive` has every field; [operator.md](operator.md) is the guide.
"""
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "minLength": "not empty",
    "maxLength": "at most {} letters",
}
TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "mapping"}


def text() -> str:
    """The manual as Markdown."""
    places = _places(Manifest, "")
    sections = [_section(model, places) for model in places]
    return "\n".join([HEAD, *sections, CLUSTER.lstrip()])


def _places(model: type[BaseModel], path: str) -> dict[type[BaseModel], list[str]]:
    """Every type of the manifest with the paths at which it stands, in order."""
    found = {model: [path]}
    for name, info in fields_of(model).items():
        inner = model_in(info.annotation)
        if inner:
            each = "[]" if not _is_one(info, inner) else ""
            for deeper, paths in _places(inner, f"{path}.{name}{each}".lstrip(".")).items():
                found.setdefault(deeper, []).extend(paths)
    return found


def _section(model: type[BaseModel], places: dict[type[BaseModel], list[str]]) -> str:
    paths = places[model]
    title = paths[0] or "The file"
    others = f" Stands at {', '.join(f'`{path}`' for path in paths)}." if len(paths) > 1 else ""
    rows = "\n".join(_rows(model, places))
    table = f"| field | what it takes | default | what it is |\n|---|---|---|---|\n{rows}\n"
    return f"## {title}\n\n{_plain(model.__doc__)}{others}\n\n{table}"


def _rows(model: type[BaseModel], places: dict[type[BaseModel], list[str]]) -> Iterator[str]:
    schema = model.model_json_schema(by_alias=True)
    for name, info in fields_of(model).items():
        inner = model_in(info.annotation)
        node = schema["properties"][name]
        takes = _takes(node, info, inner, places)
        default = "required" if info.is_required() else _default(info)
        yield f"| `{name}` | {takes} | {default} | {_cell(_plain(info.description))} |"


def _takes(
    node: dict[str, Any], info: FieldInfo, inner: type[BaseModel] | None, places: dict[type[BaseModel], list[str]]
) -> str:
    if inner:
        title = places[inner][0]
        link = f"[{title}](#{''.join(c for c in title.lower() if c.isalnum())})"
        return link if _is_one(info, inner) else _joined(f"list of {link}", node)
    if "anyOf" in node:
        return " or ".join(_takes(member, info, None, places) for member in node["anyOf"])
    if "const" in node or "enum" in node:
        choices = node.get("enum", [node.get("const")])
        return ", ".join(f"`{json.dumps(choice) if choice == '' else choice}`" for choice in choices)
    if node.get("type") == "array":
        return _joined(f"list of {TYPES[node['items']['type']]}", node)
    return _joined(TYPES[node["type"]], node)


def _joined(what: str, node: dict[str, Any]) -> str:
    bounds = [words.format(f"{node[key]:,}") for key, words in BOUNDS.items() if key in node]
    pattern = [f"matches `{_cell(node['pattern'])}`"] if "pattern" in node else []
    return ", ".join([what, *bounds, *pattern])


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ""
    if value in (None, "", (), {}):
        return ""
    return f"`{yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=10**6).strip()[1:-1]}`"


def _is_one(info: FieldInfo, inner: type[BaseModel]) -> bool:
    return info.annotation is inner or info.annotation == (inner | None)


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())

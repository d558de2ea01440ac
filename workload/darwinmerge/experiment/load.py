"""From a YAML file to a manifest, or to every mistake in it at once.

A mistake is one line: the field's path, what was found, what is allowed. Validation needs nothing but the
file: no parents, no network, no torch.
"""

import difflib
import json
import re
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.experiment.types import NUMBERS_ONLY
from darwinmerge.uri import without_user

M = TypeVar("M", bound=Manifest)

ROUNDS = 8  # of taking mistakes out and looking again


class _Loader(yaml.SafeLoader):
    """YAML without the three surprises that hurt here: duplicate keys, dates, and a 1e-3 that is a text."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise BadConfiguration(f"line {key.start_mark.line + 1}: a key must be a word")
            if key.value in seen:
                line = key.start_mark.line + 1
                raise BadConfiguration(f"line {line}: the key '{key.value}' stands twice in one mapping; remove one")
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def load(path: Path, model: type[Manifest] = Manifest) -> Manifest:
    """The manifest in the file `path`; `model` may ask for more than the engine does.

    Raises:
        BadConfiguration: the file can't be read, or isn't a valid manifest; the message lists every mistake.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return parse(text, str(path), model)


def parse(text: str, source: str = "manifest", model: type[Manifest] = Manifest) -> Manifest:
    """The manifest in `text`; see `load`."""
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadConfiguration(f"{source}: not YAML: {not_yaml(error)}") from error
    except BadConfiguration as error:
        raise BadConfiguration(f"{source}: {error}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadConfiguration(f"{source}: expected one YAML document with a DarwinMerge, found {len(documents)}")
    return check(documents[0], source, model)


def check(document: dict[str, Any], source: str, model: type[M]) -> M:
    """The manifest that `document` is; see `load`."""
    try:
        text = json.dumps(document, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadConfiguration(f"{source}: it holds what JSON can't say: {error}") from None
    try:
        return _validated(text, model)
    except ValidationError as error:
        raise refused(source, _all_mistakes(json.loads(text), error, model), model) from None


def refused(source: str, found: Iterable[ErrorDetails], model: type[BaseModel]) -> BadConfiguration:
    """The message that names every mistake in what should be a `model`."""
    places: dict[str, list[ErrorDetails]] = {}
    for details in found:
        places.setdefault(_path(details["loc"])[0], []).append(details)
    lines = sorted(f"{path}: {_told(mistakes, model)}" for path, mistakes in places.items())
    many = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return BadConfiguration("\n  ".join([f"{source}: {many}", *lines]))


def not_yaml(error: Exception) -> str:
    """Why a text is no YAML, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error).splitlines()[0]
    mark, within = error.problem_mark, f" ({error.context})" if error.context else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{within}"


def _validated(text: str, model: type[M]) -> M:
    context = {NUMBERS_ONLY: model.numbers_only}
    return model.model_validate_json(text, strict=True, context=context, by_alias=True, by_name=False)


def _all_mistakes(document: Any, error: ValidationError, model: type[Manifest]) -> list[ErrorDetails]:
    """The mistakes of a document, those included that only show once others are out of the way.

    Checks of two fields run only where both are right; so what is wrong is taken out, and the rest looked at again.
    """
    found = _telling(error)
    taken: set[tuple[int | str, ...]] = set()
    for _ in range(ROUNDS):
        places = {_path(details["loc"])[1] for details in found} - taken
        deepest_first = sorted(places, key=lambda place: (len(place), str(place)), reverse=True)
        if sum(_take_out(document, place) for place in deepest_first) == 0:
            break
        taken |= places
        try:
            _validated(json.dumps(document), model)
            break
        except ValidationError as further:
            found += [details for details in _telling(further) if _path(details["loc"])[1] not in taken]
    return found


def _take_out(document: Any, place: tuple[int | str, ...]) -> bool:
    """Remove one field of a mapping, if it is there; items of lists stay, since others would move up."""
    for part in place[:-1]:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    if not place or not isinstance(document, dict) or place[-1] not in document or isinstance(place[-1], int):
        return False
    del document[place[-1]]
    return True


def _telling(error: ValidationError) -> list[ErrorDetails]:
    """All mistakes but one kind: a list is called too short where it only lost its mistaken items."""
    found = error.errors(include_url=False)

    def inside(place: tuple[int | str, ...]) -> bool:
        return any(len(d["loc"]) > len(place) and d["loc"][: len(place)] == place for d in found)

    return [d for d in found if d["type"] != "too_short" or not inside(d["loc"])]


def _told(mistakes: list[ErrorDetails], model: type[BaseModel]) -> str:
    """What is wrong at one place; of a union each member says what it wants, and a check of ours says it best."""
    details = next((d for d in mistakes if d["type"] == "value_error"), mistakes[0])
    value = details["input"]
    match details["type"]:
        case "extra_forbidden":
            location = _path(details["loc"])[1]
            allowed = sorted(_fields(location[:-1], model))
            near = difflib.get_close_matches(str(location[-1]), allowed, 1, 0.6)
            hint = f"did you mean '{near[0]}'? " if near else ""
            return f"unknown field; {hint}allowed: {', '.join(allowed)}"
        case "missing":
            return "missing; it is required"
        case "value_error":
            found = "" if isinstance(value, dict) else f" (found {_shown(value)})"
            return details["msg"].removeprefix("Value error, ") + found
    first, *others = dict.fromkeys(map(_wanted, mistakes))
    alternatives = (f", or {other.removeprefix('allowed: ')}" for other in others)
    return f"found {_shown(value)}; {first}{''.join(alternatives)}"


def _wanted(details: ErrorDetails) -> str:
    match details["type"]:
        case "literal_error":
            return f"allowed: {details['ctx']['expected']}"
        case "string_pattern_mismatch":
            return f"it must match {details['ctx']['pattern']}"
        case _:
            return f"{details['msg'][0].lower()}{details['msg'][1:]}"


def _path(loc: tuple[int | str, ...]) -> tuple[str, tuple[int | str, ...]]:
    """The field's path as a person writes it; parts that name a union's member are left out."""
    parts = [p for p in loc if isinstance(p, int) or (not any(mark in p for mark in "[(") and p not in _TYPE_NAMES)]
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(the document)", tuple(parts)


_TYPE_NAMES = {"int", "str", "float", "constrained-int", "constrained-str"}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    text = without_user(json.dumps(value, default=str, ensure_ascii=False))  # a key isn't told again
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(loc: tuple[int | str, ...], whole: type[BaseModel]) -> list[str]:
    """Names that are allowed at `loc`."""
    model: Any = whole
    for part in loc:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            names = {info.alias or to_camel(name): info.annotation for name, info in model.model_fields.items()}
            model = names.get(part)
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            members = [a for a in get_args(model) if isinstance(a, type) or get_origin(a)]
            if get_origin(model) not in (tuple, Annotated, Union, types.UnionType) or not members:
                return []
            model = members[0]
    return [info.alias or to_camel(name) for name, info in model.model_fields.items()]

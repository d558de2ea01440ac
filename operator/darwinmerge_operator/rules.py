"""A rule of the resource, said once: as CEL for the API server, and as Python for `darwin validate`.

Both stand side by side, so that what one refuses the other does, in the same words. What a schema can say by itself
(types, bounds, patterns, required fields) needs no rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from darwinmerge.experiment.types import Frozen

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """What must hold; of a model by its `rules`, of a scalar field as `Annotated[str, Rule(...)]`."""

    cel: str  # over `self`, and `oldSelf` where it is about a change
    message: str  # what is wrong, and what to do instead
    holds: Callable[[Any], bool] | None = None  # the same in Python; None: the engine checks it, or no file breaks it

    def validation(self) -> dict[str, str]:
        """An item of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}

    def check(self, value: Any) -> Any:
        """The value, if the rule holds.

        Raises:
            ValueError: it doesn't.
        """
        if self.holds and not self.holds(value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check a field that is annotated with the rule."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Write the rule into the schema of a field that is annotated with it."""
        written = handler(schema)
        return {**written, VALIDATIONS: [*written.get(VALIDATIONS, ()), self.validation()]}


class Section(Frozen):
    """A part of the resource that has rules."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obeys(self) -> Self:
        for rule in self.rules:
            rule.check(self)
        return self


def exactly_one(*fields: str) -> Rule:
    """One of the fields is set, and only one."""
    names = [to_camel(field) for field in fields]
    return Rule(
        f"[{', '.join(f'has(self.{name})' for name in names)}].filter(x, x).size() == 1",
        f"set exactly one of {', '.join(names)}",
        lambda self: sum(getattr(self, field) is not None for field in fields) == 1,
    )


@dataclass(frozen=True)
class KeyedBy:
    """A list whose items differ in one field: `Annotated[tuple[Item, ...], KeyedBy("name")]`.

    Server-side apply merges such a list item by item.
    """

    field: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse a key that stands twice."""
        return core_schema.no_info_after_validator_function(self._distinct, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Write the key into the schema."""
        key = to_camel(self.field)
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}

    def _distinct(self, items: tuple[Frozen, ...]) -> tuple[Frozen, ...]:
        keys = [getattr(item, self.field) for item in items]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"{to_camel(self.field)} {twice[0]!r} stands twice")
        return items


def or_default(model: type[Frozen], field: str) -> str:
    """CEL for the value of a string or number field, or its default where it isn't set."""
    info = model.model_fields[field]
    return f"(has(self.{info.alias}) ? self.{info.alias} : {literal(info.default)})"


def literal(value: Any) -> str:
    """CEL for a string, a number, a truth value or a list of them."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else repr(value)


def immutable(path: Sequence[tuple[str, bool]], message: str) -> Rule:
    """A field that neither comes, goes nor changes.

    The rule belongs to a parent that is always there: on the field itself it wouldn't run when the field is removed,
    nor when it is added again.

    Args:
        path: the names from the parent down to the field, and whether each is required.
        message: why not, and what to do instead.
    """
    names = [name for name, _ in path]
    optional = [".".join(names[: n + 1]) for n, (_, required) in enumerate(path) if not required]
    same = f"self.{'.'.join(names)} == oldSelf.{'.'.join(names)}"
    if not optional:
        return Rule(same, message)
    now, before = (" && ".join(f"has({holder}.{name})" for name in optional) for holder in ("self", "oldSelf"))
    return Rule(f"({now}) == ({before}) && (!({now}) || {same})", message)

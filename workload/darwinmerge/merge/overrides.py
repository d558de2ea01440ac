"""Overrides of a recipe by hand: other ratios or densities for some tensors, by pattern, kind or layers.

The first override that fits a tensor speaks for it. It is about tensors that would be merged or transplanted; those
that are identical, or in one parent only, stay what they are.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.kinds import Kind
from darwinmerge.experiment.types import Frozen, Share
from darwinmerge.merge.methods import METHODS, MethodName
from darwinmerge.merge.recipe import Change, Decision
from darwinmerge.mri.table import TensorRow


class Override(Frozen):
    """A ratio or density for the tensors that fit all of `pattern`, `kind` and `layers`."""

    pattern: str = ""
    """A regular expression searched for in the tensor's name."""
    kind: Kind | None = None
    """The tensor's kind, such as attention or ffn."""
    layers: Annotated[str, Field(pattern=r"^(\d+(-\d+)?)?$")] = ""
    """Layers, as `12` or `0-7`."""
    ratio: Share | None = None
    """The final ratio: 0 copies Father's tensor, 1 Mother's."""
    density: Share | None = None
    """Share of the elements of B - A that are kept; with a base, of both task vectors."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.pattern or self.kind or self.layers):
            raise ValueError("say which tensors: pattern, kind or layers")
        if self.ratio is None and self.density is None:
            raise ValueError("say what for: ratio or density")
        if self.density == 0:
            raise ValueError("density 0 keeps nothing; ratio 0 says the same")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"'{self.pattern}' is not a regular expression: {error}") from None
        return self

    def fits(self, row: TensorRow) -> bool:
        """Whether this override speaks for a tensor."""
        if self.pattern and not re.search(self.pattern, row.name):
            return False
        if self.kind and row.kind != self.kind:
            return False
        if not self.layers:
            return True
        first, _, last = self.layers.partition("-")
        return row.layer.isdigit() and int(first) <= int(row.layer) <= int(last or first)


class Overrides(Frozen):
    """A recipe file."""

    overrides: tuple[Override, ...]
    """First fit wins."""


def overriding(overrides: Sequence[Override], method: MethodName) -> Change:
    """What the overrides make of a tensor's decision.

    Raises:
        BadConfiguration: a density is overridden, and the method has none.
    """
    if not METHODS[method].densities and any(override.density is not None for override in overrides):
        raise BadConfiguration(f"an override says density, which {method} has none of; leave it out")

    def change(decision: Decision, row: TensorRow) -> Decision:
        found = next((override for override in overrides if override.fits(row)), None)
        if found is None or row.presence != "both":
            return decision
        changed = decision
        if found.ratio is not None:
            changed = {0.0: _copy(decision, "father"), 1.0: _copy(decision, "mother")}.get(
                found.ratio, Decision(name=decision.name, account="merged", ratio=found.ratio)
            )
        if found.density is not None and changed.account == "merged":
            changed = changed.model_copy(update={"density": found.density})
        return changed

    return change


def _copy(decision: Decision, parent: str) -> Decision:
    return Decision.model_validate({"name": decision.name, "account": f"transplanted-{parent}", "source": parent})

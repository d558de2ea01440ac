"""`spec.merge`: how a child is computed, and what of it goes with a base, or without one."""

from typing import Literal, Self

from pydantic import model_validator

from darwinmerge.experiment.types import Frozen, Share, Side
from darwinmerge.merge.methods import METHODS, MethodName, Parameters, dare_ties


class Transplant(Frozen):
    """A tensor whose prescription is extreme is copied whole from one parent, without interpolation."""

    below: Share = 0.05
    """A prescription below this copies Father's tensor."""
    above: Share = 0.95
    """A prescription above this copies Mother's tensor."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.below >= self.above:
            raise ValueError(f"below {self.below:g} must be less than above {self.above:g}")
        return self

    def of(self, prescription: float, flag: str) -> Side | None:
        """Whose tensor is copied; None: it is merged, as is any whose diagnosis is flagged."""
        if flag or self.below <= prescription <= self.above:
            return None
        return "father" if prescription < self.below else "mother"


class Chosen(Frozen):
    """The method; a base of its own, so that its field stands first."""

    method: MethodName = "DareTies"
    """DareTies: child = A + (B - A) x mask x final ratio, with a random mask that keeps `density_b` of the elements;
    with `parents.base`, both differences from it are masked, and a sign elected. Ties: likewise, but each keeps its
    greatest elements. TaskArithmetic: the base and both differences, weighted. Both need a base. Slerp: along the arc
    between the parents. Linear: the weighted average. The last three have no densities."""


class Merge(Parameters, Chosen):
    """How a child is computed from its parents, tensor by tensor."""

    arithmetic: Literal["Float32", "Source"] = "Float32"
    """Float32: each operation in float32, one rounding to the tensor's dtype at the end. Source: each operation
    rounded to the tensor's dtype, the published code's letter on BF16 tensors."""
    dtype: Literal["Father", "bfloat16"] = "Father"
    """Dtype of the child's weights: Father's, tensor by tensor (what he has in float32 stays float32), or bfloat16 for
    all, the published code's letter."""
    transplant: Transplant = Transplant()
    """Thresholds of the direct copy."""
    one_sided: Literal["Fail", "Keep"] = "Fail"
    """Tensors that only one parent has: Fail refuses the pair by name; Keep takes them over unchanged."""

    @model_validator(mode="after")
    def _of_its_method(self) -> Self:
        strange = [parameter_of(name) for name in set_parameters(self) if self.method not in having(name)]
        if self.arithmetic == "Source" and self.method != dare_ties.METHOD.name:
            strange.append(f"{SOURCE_IS_DARE_TIES}; leave it out, or choose another method")
        if strange:
            raise ValueError("; ".join(strange))
        return self


ONLY_WITH_A_BASE = (
    "merge.lambda, merge.normalize and merge.rescale L1 need a base; name it at parents.base.uri, or leave them out"
)
SOURCE_IS_DARE_TIES = "arithmetic Source is the letter of DareTies without a base"


def set_parameters(merge: Merge) -> list[str]:
    """Names, as in a manifest, of the parameters of methods that aren't at their defaults."""
    fields = Parameters.model_fields
    return [str(info.alias) for field, info in fields.items() if getattr(merge, field) != info.default]


def having(parameter: str) -> list[str]:
    """The methods that have a parameter, named as in a manifest."""
    own = {name: {info.alias for info in method.parameters.model_fields.values()} for name, method in METHODS.items()}
    return [name for name, aliases in own.items() if parameter in aliases]


def parameter_of(parameter: str) -> str:
    """What is said where another method has been given it."""
    return f"{parameter} is a parameter of {', '.join(having(parameter))} only; leave it out, or choose another method"


def base_refused(merge: Merge, base: bool) -> str:
    """Why a merge can't be with a base, or without one; empty: it can."""
    method = METHODS[merge.method]
    if base and method.base == "Unused":
        return f"merge.method {method.name} has no use for parents.base; leave it out, or choose another method"
    if base and merge.arithmetic == "Source":
        return f"{SOURCE_IS_DARE_TIES}; leave one of them out"
    if base:
        return ""
    if method.base == "Needed":
        return f"merge.method {method.name} moves from a base to both parents; name it at parents.base.uri"
    lacking = [name for name in set_parameters(merge) if name != "rescale" or merge.rescale == "L1"]
    return ONLY_WITH_A_BASE if lacking else ""

"""The base of every value that is written down, and the scalar types that manifests use."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic.alias_generators import to_camel

Side = Literal["father", "mother"]


class Frozen(BaseModel):
    """An immutable value with camelCase names outside and snake_case names inside; unknown fields are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


def first_mistake(error: ValueError) -> str:
    """Why something written isn't the value it should be: the first reason, in one line."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    found = error.errors(include_url=False)[0]
    return ": ".join(filter(None, (".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, "))))


NUMBERS_ONLY = "numbers only"  # in a validation's context: decimals may not be strings


def _decimal(value: Any, info: ValidationInfo) -> Any:
    """A number, or a string that is one: templates quote what they fill in, so manifests may write "0.7"."""
    if isinstance(value, str) and not (info.context or {}).get(NUMBERS_ONLY):
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError("not a decimal number") from None
        if not number.is_finite():
            raise ValueError("not a finite number")
        return float(number)
    return value


DECIMAL = BeforeValidator(_decimal)  # stands last, after the bounds: a schema shows only bounds of the float itself
Share = Annotated[float, Field(ge=0, le=1), DECIMAL]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), DECIMAL]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), DECIMAL]
PositiveShare = Annotated[float, Field(gt=0, le=1), DECIMAL]
Count = Annotated[int, Field(ge=1)]

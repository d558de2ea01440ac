"""The base of every value that is written down, and the scalar types that manifests use."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Frozen(BaseModel):
    """An immutable value with camelCase names outside and snake_case names inside; unknown fields are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


def _decimal(value: Any) -> Any:
    """A number, or a string that is one: Kubernetes discourages floats, so manifests may write "0.7"."""
    if isinstance(value, str):
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError("not a decimal number") from None
        if not number.is_finite():
            raise ValueError("not a finite number")
        return float(number)
    return value


Number = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_decimal), Field(ge=0, le=1)]
NotNegative = Annotated[float, BeforeValidator(_decimal), Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_decimal), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

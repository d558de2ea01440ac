"""One way to write a value down, so that equal values have equal digests on every machine.

Numbers that are hashed or compared are rounded to 12 significant digits first: CPUs differ in the last
bits of log and exp, and a decision must not.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

SIGNIFICANT_DIGITS = 12
DISCRIMINATORS = frozenset({"kind", "model", "stage"})


def rounded(x: float) -> float:
    """Round `x` to 12 significant digits; the one rounding before a number is hashed or compared."""
    return float(f"{x:.{SIGNIFICANT_DIGITS - 1}e}")


def _told(model: BaseModel, name: str, info: FieldInfo) -> bool:
    """Whether a field is written down: default-valued ones aren't, so that a setting added later changes no digest.

    A union's discriminator, which has one value a model, tells models apart, so it always is.
    """
    discriminates = name in DISCRIMINATORS and len(get_args(info.annotation)) == 1
    return discriminates or getattr(model, name) != info.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        return {info.alias or name: _plain(getattr(value, name)) for name, info in fields if _told(value, name, info)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        x = rounded(value)
        return int(x) if x.is_integer() and abs(x) < 2**53 else x
    return value


def canonical(value: Any) -> bytes:
    """JSON of `value`: sorted keys, no blanks, rounded numbers, default-valued model fields left out."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(value: Any) -> str:
    """SHA-256 of `canonical(value)`, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def digest_lines(values: Iterable[Any]) -> str:
    """SHA-256 over one canonical line a value, in hex, for tables too long to hold as one text."""
    sha = hashlib.sha256()
    for value in values:
        sha.update(canonical(value) + b"\n")
    return sha.hexdigest()

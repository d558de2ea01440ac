"""Types of single fields that a manifest's sections share: URIs, sizes, words, lm-eval's arguments."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

SCHEMES = ("file", "s3", "hf", "pvc")


def _uri(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    if found and scheme not in SCHEMES:
        raise ValueError(f"unknown scheme '{scheme}'; allowed: a path, " + ", ".join(f"{s}://" for s in SCHEMES))
    if found and not rest.strip("/"):
        raise ValueError("the URI names no place after its scheme")
    if re.search(r"[\x00-\x1f]", uri):
        raise ValueError("control characters are not allowed")
    if scheme == "s3" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", rest.partition("/")[0]):
        raise ValueError("write s3://bucket/prefix; access keys come from the environment or a Secret, never in a URI")
    return uri


SIZE = r"^(0*[1-9][0-9]*) ?([KMGT]i?)?B?$"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `500M`, `2Gi` or `1048576`.

    Raises:
        ValueError: it is none of these, or zero.
    """
    found = re.fullmatch(SIZE, text)
    if not found:
        raise ValueError("not a size; write for example 5GB, 500MB or 2GiB")
    return int(found.group(1)) * _UNITS[found.group(2) or ""]


def _size(text: str) -> str:
    parse_size(text)
    return text


Uri = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_uri)]
Size = Annotated[str, Field(max_length=32, json_schema_extra={"pattern": SIZE}), AfterValidator(_size)]
Word = Annotated[str, Field(max_length=256)]
ARGUMENTS = r"^([A-Za-z_][A-Za-z0-9_]*=[^,=]+(,[A-Za-z_][A-Za-z0-9_]*=[^,=]+)*)?$"  # lm-eval's way to write arguments
Arguments = Annotated[str, Field(pattern=ARGUMENTS, max_length=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]

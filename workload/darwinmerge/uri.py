"""Places by URI: a path, `file://`, a volume claim's `pvc://claim/path`, or a scheme that somebody else must know."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from darwinmerge.errors import BadConfiguration

CLAIMS = "DARWIN_PVC_ROOT"  # the variable that names the folder in which claims are mounted, each under its name
CLAIMS_DEFAULT = "/mnt/pvc"
MODEL = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"  # a model on a hub: org/name
_BEFORE_AT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s\"']*)@")
REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]*"  # of it: a branch, a tag or a commit


def without_user(text: str) -> str:
    """A text as it may be told: in URIs, what stands before an `@` may be somebody's key, unless it names a model."""
    return _BEFORE_AT.sub(lambda m: m[0] if m[1] == "hf" and re.fullmatch(MODEL, m[2]) else f"{m[1]}://…@", text)


def file_path(uri: str) -> Path | None:
    """The path of a plain path, a `file://` or a `pvc://` URI, percent-decoded; None for any other scheme.

    Raises:
        BadConfiguration: the claim isn't mounted here, or the path leads out of it.
    """
    scheme, found, rest = uri.partition("://")
    if not found:
        return Path(uri)
    if scheme == "pvc":
        return _claimed(uri, *unquote(rest).split("/"))
    return Path("/" + unquote(rest).lstrip("/")) if scheme == "file" else None


def claim_of(uri: str) -> str:
    """The volume claim that a place lies on; empty where it lies on none."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else ""


def in_pod(uri: str) -> str:
    """The path of a `pvc://` URI in a Pod that mounts the claim as workers do; any other place as it is."""
    return f"{CLAIMS_DEFAULT}/{unquote(uri.removeprefix('pvc://'))}" if claim_of(uri) else uri


def _claimed(uri: str, claim: str, *parts: str) -> Path:
    if ".." in (claim, *parts):
        raise BadConfiguration(f"{uri}: '..' would lead out of the claim; give the path within it")
    volume = Path(os.environ.get(CLAIMS, CLAIMS_DEFAULT)) / claim
    if not claim or not volume.is_dir():
        raise BadConfiguration(
            f"{uri}: the claim {claim!r} isn't mounted at {volume}; outside a cluster give the folder's path, or set "
            f"{CLAIMS} to a folder that holds a folder of the claim's name"
        )
    return volume.joinpath(*parts)

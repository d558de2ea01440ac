"""Places by URI: a path, `file://`, or a scheme that somebody else must know."""

from pathlib import Path
from urllib.parse import unquote


def file_path(uri: str) -> Path | None:
    """The path of a plain path or a `file://` URI, percent-decoded; None for any other scheme."""
    scheme, found, rest = uri.partition("://")
    if not found:
        return Path(uri)
    return Path("/" + unquote(rest).lstrip("/")) if scheme == "file" else None

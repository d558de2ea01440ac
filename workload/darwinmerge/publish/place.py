"""Whether a child stands where the manifest wants it."""

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.store import layout


def published(output: str) -> bool:
    """Whether a child stands at `output`; a person may have moved it since it was published."""
    return (local_path(output) / layout.CHILD_RECORD).exists()

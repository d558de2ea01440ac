"""Which child stands where the manifest wants one."""

import json

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.store import layout


def published(output: str) -> str:
    """The recipe of the child at `output`; empty where there is none: a person may have moved it."""
    try:
        record = json.loads((local_path(output) / layout.CHILD_RECORD).read_text())
        return str(record["recipeId"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

"""Which child stands where the manifest wants one, and whether it may be replaced."""

import json
from pathlib import Path
from typing import Any

from darwinmerge.checkpoint.folder import local_path
from darwinmerge.errors import BadConfiguration
from darwinmerge.store import layout


def published(output: str) -> str:
    """The recipe of the child at `output`; empty where there is none: a person may have moved it."""
    return str(_read(local_path(output) / layout.CHILD_RECORD).get("recipeId", ""))


def require_free(target: Path, store: str) -> None:
    """Refuse a target folder that holds anything but an earlier child of the experiment in `store`.

    Raises:
        BadConfiguration: naming what stands there.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise BadConfiguration(f"spec.output.uri: {target} is a file; choose another")
    found = {path.name for path in target.iterdir()}
    run = _read(target / layout.CHILD_RUN)
    ours = set(run.get("files", [])) if run.get("store") == store else set()
    foreign = sorted(found - ours)
    if foreign:
        raise BadConfiguration(
            f"spec.output.uri: {target} holds what is not a child of this experiment ({', '.join(foreign[:3])}); "
            "move it away, or choose another folder"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

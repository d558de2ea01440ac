"""SHA-256 of large files, remembered: a parent of many GB is read once for its pin, and not by every worker anew.

What is remembered is a pair of a file's identity (`Files.identity`) and its digest, one small object each, in the
experiment's store or, for commands by hand, in the user's cache. It saves time and decides nothing: a file of which
the identity isn't known, or a store that doesn't answer, costs a reading. A place that itself keeps files by their
SHA-256, as a hub does, is believed: whoever doesn't want that remembers nothing.
"""

import os
from contextlib import suppress
from pathlib import Path

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.files import Files
from darwinmerge.errors import OutOfDisk, StoreUnreachable
from darwinmerge.experiment.types import Frozen
from darwinmerge.store import FileStore, Store, layout

WORTH = 1 << 20  # bytes from which on a file is remembered


class Remembered(Frozen):
    """The SHA-256 of the file that had this identity."""

    identity: dict[str, str | int]
    sha256: str


class Digests:
    """Digests of files, in a store."""

    def __init__(self, store: Store | None) -> None:
        """Remember in `store`; None: nowhere."""
        self._store = store

    def of(self, files: Files, name: str) -> str:
        """SHA-256, in hex, of a file: the remembered one, or computed from its bytes."""
        vouched = files.vouched(name)
        if self._store is not None and vouched:
            return vouched
        identity = files.identity(name) if files.sizes[name] >= WORTH else None
        if self._store is None or identity is None:
            return files.sha256(name)
        key = layout.file_digest(digest(identity))
        with suppress(KeyError, ValueError, StoreUnreachable):
            known = Remembered.model_validate_json(self._store.read(key))
            if known.identity == identity:
                return known.sha256
        found = Remembered(identity=identity, sha256=files.sha256(name))
        with suppress(StoreUnreachable, OutOfDisk):
            self._store.create(key, found.model_dump_json().encode())
        return found.sha256


def of_user() -> Digests:
    """Digests in the user's cache, $XDG_CACHE_HOME/darwin or ~/.cache/darwin."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return Digests(FileStore(cache / "darwin"))

"""What a store can do: little, so that a folder and any S3 can both do it exactly.

No rename, no append. `create` decides races: of two writers one wins, and the loser reads what the winner wrote.
Everything that must be remembered is one such object. Only views, which follow from the rest, are replaced.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from darwinmerge.experiment.types import Frozen

READ_SIZE = 1 << 24  # bytes read at a time, where a whole object could be too much


class Ref(Frozen):
    """One stored object, as it must be."""

    key: str
    sha256: str
    size: int


class Stat(Frozen):
    """One stored object, as it is."""

    key: str
    size: int


def stored_ref(store: "Store", key: str) -> Ref:
    """What stands at `key`, read and hashed.

    Raises:
        KeyError: there is no such object.
    """
    sha, size = hashlib.sha256(), 0
    while part := store.read(key, size, size + READ_SIZE):
        sha.update(part)
        size += len(part)
    return Ref(key=key, sha256=sha.hexdigest(), size=size)


def require_key(key: str) -> None:
    """Refuse what is no key: each object has one spelling, and lies within its store.

    Raises:
        ValueError: it is empty, or has an empty, `.` or `..` part.
    """
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")


class Store(Protocol):
    """A flat namespace of objects, immutable but for views; keys are relative, `/` separates their parts."""

    uri: str

    def head(self, key: str) -> Stat | None:
        """The object's size, or None where there is none."""

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes `start` to `stop` (exclusive; None: the end) of an object.

        Raises:
            KeyError: there is no such object.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Write an object whole, durably, if there is none; False: there is one already, left as it was."""

    def put_shard(self, key: str, parts: Iterable[bytes | memoryview]) -> Ref:
        """Write a large object from its parts, visible only when it is whole; an existing one is left as it was."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Objects whose keys start with `prefix`, in order of keys."""

    def replace(self, key: str, data: bytes) -> None:
        """Make a view anew, in one step: who reads meanwhile reads one or the other whole; the last writer's stays."""

    def delete(self, key: str) -> None:
        """Remove an object if it is there; for clean-up."""

    def stale(self) -> Iterator[Stat]:
        """What killed processes left half written, a day old at least; none of it is an object of the store."""

    def sweep(self) -> None:
        """Remove what is `stale`; writers do it by themselves, and none of them fails for it."""

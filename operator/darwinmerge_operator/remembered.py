"""What was heard or read of runs not long ago, so that it isn't asked of the API server at every look.

Only what nobody but us and a person changes: the DarwinMerge, which the watch tells of, and the ledger, which we wrote.
Jobs and Pods are listed at every look: others change them all the time, and half of the news (a Job that is complete,
its Pod not heard of yet) would be a wrong one.

What is remembered may be stale, and must never do harm: a status is patched and a ledger replaced with the version that
was remembered, and where the API server knows another one, all of a run is forgotten and read anew.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from darwinmerge_operator.api import Key, Object

FRESH_SECONDS = 60.0  # after which it is asked for again: a watch may have gone silent


@dataclass(frozen=True)
class _Kept:
    what: Object
    since: float


class Remembered:
    """Runs and their ledgers, as they last were; for the watches' thread and those that look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet."""
        self._clock, self._lock = clock, threading.Lock()
        self._runs: dict[Key, _Kept] = {}
        self._ledgers: dict[Key, _Kept] = {}

    def run(self, key: Key) -> Object | None:
        """The DarwinMerge, if it was heard of lately."""
        return self._fresh(self._runs, key)

    def ledger(self, key: Key) -> Object | None:
        """Its ConfigMap, if it was read or written lately."""
        return self._fresh(self._ledgers, key)

    def keep_run(self, key: Key, found: Object) -> Object:
        """Remember a DarwinMerge, unless a later version of it is known; gives it without what nobody needs."""
        slim = _slim(found)
        with self._lock:
            known = self._runs.get(key)
            if known is None or not _later(known.what["metadata"], slim["metadata"]):
                self._runs[key] = _Kept(slim, self._clock())
        return slim

    def keep_ledger(self, key: Key, found: Object) -> None:
        """Remember its ConfigMap."""
        with self._lock:
            self._ledgers[key] = _Kept(_slim(found), self._clock())

    def forget_ledger(self, key: Key) -> None:
        """Have the ledger read anew."""
        with self._lock:
            self._ledgers.pop(key, None)

    def forget(self, key: Key) -> None:
        """Have all of a run read anew."""
        with self._lock:
            self._runs.pop(key, None)
            self._ledgers.pop(key, None)

    def _fresh(self, kept: dict[Key, _Kept], key: Key) -> Object | None:
        with self._lock:
            found = kept.get(key)
            return found.what if found and self._clock() - found.since < FRESH_SECONDS else None


def _slim(found: Object) -> Object:
    metadata = {name: value for name, value in found["metadata"].items() if name != "managedFields"}
    return {**found, "metadata": metadata}


def _later(one: Object, other: Object) -> bool:
    """Whether `one` is a later version of the object that `other` is a version of."""
    versions = [metadata["resourceVersion"] for metadata in (one, other)]
    comparable = one["uid"] == other["uid"] and all(version.isdigit() for version in versions)
    return comparable and int(versions[0]) > int(versions[1])

"""What an event of a watch is worth: how soon a run is to be looked at because of it; and less of kopf than it offers.

Of a Job and its Pod a dozen events come, and one or two of them matter at once: an end, a deletion, a change of who
holds it. The others (a node is chosen, a container runs) are gathered over seconds into one look.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from kopf import DiffBaseStorage, ProgressStorage

GATHER_SECONDS = 0.3  # for which changes of Jobs and Pods are gathered into one look
CALM_SECONDS = 2.0  # the same, of changes that nothing waits for

Object = Mapping[str, Any]


class News:
    """Tells what is new in Jobs and Pods, as far as a decision could depend on it."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._known: dict[str, _Standing] = {}
        self._lock = threading.Lock()

    def delay(self, kind: str | None, found: Object) -> float:
        """Seconds after which the run is to be looked at; `kind` is the event's type, None in a first listing."""
        uid, now = found["metadata"]["uid"], _Standing.of(found)
        with self._lock:
            before = self._known.get(uid, _Standing())
            if kind == "DELETED":
                self._known.pop(uid, None)
                return CALM_SECONDS if before.ended else GATHER_SECONDS
            self._known[uid] = now
        # what has ended is in nobody's way, and goes when we, or its owner's end, want it to
        return GATHER_SECONDS if now != before and not before.ended else CALM_SECONDS


@dataclass(frozen=True)
class _Standing:
    """What of a Job or a Pod must be seen soon."""

    ended: bool = False
    leaving: bool = False
    disrupted: bool = False
    held: bool = False

    @classmethod
    def of(cls, found: Object) -> Self:
        spec, status = found.get("spec") or {}, found.get("status") or {}
        true = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
        return cls(
            ended=bool(true & {"Complete", "Failed"}) or status.get("phase") in ("Succeeded", "Failed"),
            leaving="deletionTimestamp" in found["metadata"],
            disrupted="DisruptionTarget" in true,
            held=bool(spec.get("suspend")),
        )


class NoDiffs(DiffBaseStorage):
    """kopf compares each object with what it was; nobody asks it to, and it takes longer than all else it does."""

    def build(self, *, body: Any, extra_fields: Iterable[Any] | None = None) -> Any:
        """Nothing is compared."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was stored."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is stored: kopf patches nothing of ours."""


class NoProgress(ProgressStorage):
    """kopf keeps the progress of handlers in the object itself; those that only listen have none."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        """Nothing was stored."""
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Nothing is stored."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Nothing is there."""

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing of ours is in it."""
        return essence

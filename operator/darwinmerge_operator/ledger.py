"""What the operator remembers of a run: results, attempts, and little else; a cache of the store, never the truth.

One ConfigMap an experiment, owned by it, written with its resourceVersion, so that of two operators only one gets its
word in and the other looks again. Lost, it is rebuilt by recall Jobs. Compressed, since a ConfigMap holds 1 MiB: a
thousand candidates take about a quarter of that, and the resource takes no more than three thousand.
"""

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.orders import Part
from darwinmerge.pipeline.results import Done, Result, TaskId
from darwinmerge.pipeline.retry import Attempt

KEY = "ledger"  # in the ConfigMap's binaryData
MESSAGE_LETTERS = 300  # of an attempt's message


class Try(Frozen):
    """An attempt that ended without what it was for."""

    number: int
    exit: ExitCode
    message: str
    at: float  # when it was learned of, seconds since 1970
    ours: bool = False  # the operator ended it (suspension): nobody's fault, and not counted


class Ledger(Frozen):
    """A run as the operator remembers it."""

    results: dict[TaskId, Result] = Field(default_factory=dict)
    merged: tuple[TaskId, ...] = ()  # scores whose child is staged
    missed: tuple[TaskId, ...] = ()  # asked for by recall, and not in the store
    recalling: bool = True  # until the store has nothing more to tell
    tries: dict[str, tuple[Try, ...]] = Field(default_factory=dict)  # by `key_of`
    forgiven: dict[str, int] = Field(default_factory=dict)  # attempts up to this number count no more
    disrupted: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # by `key_of`: Pods that were taken away
    dropped: tuple[str, ...] = ()  # staged children that a Job was told to delete, 16 digits of their recipes
    image: str = ""  # the worker's, since acceptance
    active_seconds: float = 0.0  # with a pod running, up to `active_until`
    active_until: float = 0.0  # seconds since 1970; not a reason to write, nor are GPU seconds: pods tell of the rest
    gpu_seconds: dict[str, float] = Field(default_factory=dict)  # by stage, up to the same moment
    progressed_at: float = 0.0  # when a result last came home, since 1970
    generation: int = 0  # of the resource, when last looked at; 0: never
    retried_at: str = ""  # the last retry request that was answered
    finished: bool = False  # the outcome's summary is in the store

    def counted(self, key: str) -> tuple[Attempt, ...]:
        """The attempts that the retry policy is to judge."""
        after = self.forgiven.get(key, 0)
        counted = (t for t in self.tries.get(key, ()) if t.number > after and not t.ours)
        return tuple(Attempt(task=key, number=t.number, exit=t.exit, message=t.message) for t in counted)

    def ours(self, key: str, number: int) -> bool:
        """Whether we have ended this attempt, or meant to."""
        return any(t.ours and t.number == number for t in self.tries.get(key, ()))

    def last(self, *keys: str) -> int:
        """The highest number of an attempt at any of these; 0 without any."""
        return max((t.number for key in keys for t in self.tries.get(key, ())), default=0)

    def having(self, key: str, attempt: Try, among: Sequence[str] = ()) -> "Ledger":
        """With one more attempt, unless it is known, be it of another of the keys `among` which one Job had."""
        if any(t.number == attempt.number for one in (key, *among) for t in self.tries.get(one, ())):
            return self
        short = attempt.model_copy(update={"message": attempt.message[:MESSAGE_LETTERS]})
        return self.model_copy(update={"tries": {**self.tries, key: (*self.tries.get(key, ()), short)}})

    def forgive(self) -> "Ledger":
        """A person asked for another try: what failed so far counts no more."""
        return self.model_copy(update={"forgiven": {key: self.last(key) for key in self.tries}, "disrupted": {}})

    def again(self) -> "Ledger":
        """A finished run goes on, and its store may have been tidied up: children are asked for anew.

        A worker whose result the store still has computes nothing.
        """
        stages = ("export", "health", "publish")
        kept = {task: r for task, r in self.results.items() if not (isinstance(r, Done) and r.summary.stage in stages)}
        return self.model_copy(update={"results": kept})


def key_of(task: TaskId, part: Part | str) -> str:
    """What attempts are counted by: a task, and the part of it that a Job does."""
    return f"{task[:16]}/{part}"


def ledger_name(run: str) -> str:
    """The ConfigMap of a run's ledger."""
    return f"{run}.ledger"  # no run's name has a dot, nor has a ConfigMap that somebody called after one


def to_data(ledger: Ledger) -> dict[str, str]:
    """`binaryData` of the ConfigMap."""
    raw = ledger.model_dump_json(by_alias=True, exclude_defaults=False).encode()
    return {KEY: base64.b64encode(zlib.compress(raw, 9)).decode()}


def from_data(data: Mapping[str, Any] | None) -> Ledger | None:
    """The ledger in a ConfigMap's `binaryData`; None where it holds none that this version can read."""
    try:
        raw = zlib.decompress(base64.b64decode((data or {})[KEY]))
        return Ledger.model_validate_json(raw)
    except (KeyError, ValidationError, zlib.error, binascii.Error):
        return None

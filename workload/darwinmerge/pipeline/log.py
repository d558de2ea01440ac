"""A pod's log: one JSON line an event on stdout, kept beside it, and sent to the store when the pod ends.

So a log collector can read it while it grows, and a person after the pod and its node are gone.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from darwinmerge.pipeline.tasks import ScoreInputs, Task

EVERY_SECONDS = 5.0  # progress is told no more often
KEPT_BYTES = 1 << 20  # of the log, for the store: its end, where the cause of a failure stands
UNITS = {"score": "questions", "mri": "tensors", "export": "bytes"}  # what progress counts; elsewhere: steps


class Log:
    """What a pod says while it works."""

    def __init__(self, write: Callable[[str], Any] = sys.stdout.write, clock: Callable[[], float] = time.monotonic):
        """A log that begins now; `clock` counts seconds."""
        self._write, self._clock = write, clock
        self._lines: list[tuple[str, str]] = []  # the task that each is about, and what it says
        self._context: dict[str, Any] = {}
        self._began = self._told = clock()

    def task(self, task: Task, part: str) -> None:
        """All further lines are about this task."""
        self._began = self._told = self._clock()
        self._context = {"task": task.id[:16], "stage": task.stage}
        if part != "all":
            self._context["part"] = part
        if isinstance(task.inputs, ScoreInputs):
            self._context["model"] = task.inputs.model.model
            if task.inputs.generation:
                self._context |= {"generation": task.inputs.generation, "candidate": task.inputs.index}

    def progress(self, done: int, total: int) -> None:
        """A line of progress, unless the last one was only just written."""
        now = self._clock()
        if now - self._told < EVERY_SECONDS and done != total:
            return
        self._told = now
        staged = self._context.get("part") == "merge"
        seconds, unit = now - self._began, "bytes" if staged else UNITS.get(self._context.get("stage", ""), "steps")
        rate = {f"{unit}PerSecond": round(done / seconds, 3)} if seconds > 0 else {}
        self.say("progress", done=done, total=total, unit=unit, seconds=round(seconds, 3), **rate)

    def say(self, event: str, **fields: Any) -> None:
        """A line of the log."""
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": when, "event": event, **self._context, **fields}, ensure_ascii=False) + "\n"
        self._lines.append((str(self._context.get("task", "")), line))
        self._write(line)

    def seconds(self) -> float:
        """Seconds since the task began."""
        return round(self._clock() - self._began, 3)

    def bytes(self, task: str) -> bytes:
        """The end of what it says of a task, and of no task, in whole lines."""
        kept: list[bytes] = []
        left = KEPT_BYTES
        for line in (line for about, line in reversed(self._lines) if about in ("", task[:16])):
            left -= len(line.encode())
            if left < 0:
                break
            kept.append(line.encode())
        return b"".join(reversed(kept))

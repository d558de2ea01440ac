"""A worker process of this machine, as its driver holds it."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, TypeAlias

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.tasks import Task

Events: TypeAlias = "queue.Queue[tuple[LocalWorker, dict[str, Any]]]"


class LocalWorker:
    """One worker process, and the task that it is at."""

    def __init__(self, number: int, where: Bindings, events: Events) -> None:
        """Start the process; what it says is put into `events`, its end too."""
        self.number = number
        self.task: Task | None = None
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - it lives as long as the process
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads starve busy machines
        self._process = subprocess.Popen(
            [sys.executable, "-m", "darwinmerge.pipeline.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._send(where.model_dump_json())
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def give(self, task: Task, last_try: bool) -> None:
        """Have it do a task."""
        self.task = task
        self._send(
            json.dumps({"id": task.id, "task": task.model_dump(mode="json", by_alias=True), "last_try": last_try})
        )

    def stop(self) -> None:
        """Ask it to stop between two pieces of work."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic seconds), then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def keep_log(self) -> str:
        """Keep what it wrote to stderr for whoever looks for the cause; where, as the end of a message."""
        self.log.seek(0)
        with tempfile.NamedTemporaryFile("w", prefix="darwin-worker-", suffix=".log", delete=False) as kept:
            kept.write(self.log.read())
        return f" (its log: {kept.name})"

    def last_words(self) -> str:
        """The last line that it wrote to stderr."""
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"

    def _send(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # its end is told by the listener
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _listen(self, events: Events) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, {"event": "ended", "exit": self._process.wait()}))


def death(status: int, last_words: str) -> tuple[ExitCode, str]:
    """What the end of a process in the middle of a task means, from its status and last words."""
    if status == -signal.SIGKILL:
        return ExitCode.OUT_OF_MEMORY, "the worker was killed (signal 9): out of memory, unless a person did it"
    if status in set(ExitCode) - {ExitCode.OK, ExitCode.FAILED}:  # 1 is what anything else ends with, too
        return ExitCode(status), f"the worker ended with {ExitCode(status).name}: {last_words}"
    return ExitCode.INTERNAL, f"the worker died (status {status}): {last_words}"

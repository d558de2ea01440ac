"""The local runner: drives worker processes on this machine until the plan has an outcome.

It keeps nothing that matters. Results are read back from the store at the start; everything after that is the
plan's decision. Workers run in sessions of their own, so that the terminal's Ctrl-C reaches only the runner,
which asks them to stop at their next chunk.
"""

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
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, ExitCode, Interrupted
from darwinmerge.experiment.experiment import Experiment, differences, science_of
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.plan import Outcome, plan
from darwinmerge.pipeline.retry import Attempt, GiveUp, retry
from darwinmerge.pipeline.tasks import RESULT, Done, PublishSummary, Result, Task, TaskId
from darwinmerge.store import Store, layout, open_store

STOP_SECONDS = 10.0  # what workers get to reach their next chunk after Ctrl-C


class View(Protocol):
    """What wants to see a run."""

    def known(self, results: Mapping[TaskId, Result]) -> None:
        """These results were in the store when the run began."""

    def started(self, task: Task) -> None:
        """A worker began a task."""

    def progress(self, task: Task, done: int, total: int) -> None:
        """A task is `done` of `total` pieces far."""

    def finished(self, task: Task, result: Result, results: Mapping[TaskId, Result]) -> None:
        """A task has a result, which is in `results` now."""

    def failed(self, attempt: Attempt, task: Task, again_in: float) -> None:
        """An attempt failed and will be repeated."""


class Stopped(DarwinError):
    """The run can't go on without a person; everything finished is kept."""

    def __init__(self, task: Task, given_up: GiveUp, code: ExitCode) -> None:
        """The run stopped at `task`."""
        super().__init__(f"{task.stage}: {given_up.message}")
        self.code = code


class Stored(Frozen):
    """`experiment.json`: what a store belongs to."""

    name: str
    science: dict[str, Any]


def claim(experiment: Experiment, store: Store) -> None:
    """Make the store this experiment's, or check that it is.

    Raises:
        BadConfiguration: the store belongs to another experiment, or to this one with other settings.
    """
    mine = Stored(name=experiment.name, science=json.loads(json.dumps(science_of(experiment.spec))))
    if store.create(layout.EXPERIMENT, mine.model_dump_json(indent=1).encode()):
        return
    theirs = Stored.model_validate_json(store.read(layout.EXPERIMENT))
    if theirs.name != mine.name:
        raise BadConfiguration(
            f"store {store.uri} belongs to the experiment '{theirs.name}', not to '{mine.name}'; "
            "choose another spec.store.uri"
        )
    changed = differences(theirs.science, mine.science)
    if changed:
        remedy = "put them back, or choose another spec.store.uri (only evolution.steps and places may change)"
        raise BadConfiguration(
            "\n  ".join([f"store {store.uri} holds '{mine.name}' with other settings; {remedy}:", *changed])
        )


def recorded(experiment: Experiment, store: Store) -> dict[TaskId, Result]:
    """All results of the store; a publication whose folder somebody removed counts as not done."""
    results: dict[TaskId, Result] = {}
    for stat in store.list(layout.RESULTS):
        try:
            result = RESULT.validate_json(store.read(stat.key))
        except ValueError as error:
            raise BadInput(f"store {store.uri}: {stat.key} is damaged ({error}); delete it and run again") from None
        results[result.task] = result
    if experiment.where.output:
        from darwinmerge.publish.task import published

        gone = not published(experiment.where.output)
        for task, result in list(results.items()):
            if gone and isinstance(result, Done) and isinstance(result.summary, PublishSummary):
                for stat in store.list(layout.result("publish", task)):
                    store.delete(stat.key)
                del results[task]
    return results


class _Worker:
    """One worker process, and the task that it is at."""

    def __init__(
        self, name: int, experiment: Experiment, events: "queue.Queue[tuple[_Worker, dict[str, Any]]]"
    ) -> None:
        self.name = name
        self.task: Task | None = None
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - it lives as long as the process
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "darwinmerge.pipeline.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._send(experiment.where.model_dump_json())
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def give(self, task: Task, last_try: bool) -> None:
        self.task = task
        self._send(
            json.dumps({"id": task.id, "task": task.model_dump(mode="json", by_alias=True), "last_try": last_try})
        )

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"

    def _send(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # its end is told by the listener
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _listen(self, events: "queue.Queue[tuple[_Worker, dict[str, Any]]]") -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, {"event": "ended", "exit": self._process.wait()}))


class Runner:
    """One run of an experiment."""

    def __init__(self, experiment: Experiment, workers: int, view: View) -> None:
        """A run with at most `workers` processes."""
        self._x, self._size, self._view = experiment, workers, view
        self._store = open_store(experiment.where.store)
        self._events: queue.Queue[tuple[_Worker, dict[str, Any]]] = queue.Queue()
        self._workers: list[_Worker] = []
        self._attempts: dict[TaskId, list[Attempt]] = {}
        self._not_before: dict[TaskId, float] = {}
        self.results: dict[TaskId, Result] = {}

    def run(self) -> Outcome:
        """Run to the outcome.

        Raises:
            Stopped: an attempt failed for good.
            Interrupted: SIGINT or SIGTERM.
            BadConfiguration: the store is another experiment's.
        """
        claim(self._x, self._store)
        self.results = recorded(self._x, self._store)
        self._view.known(self.results)
        with _signals() as stopping, self._closing():
            while True:
                now = plan(self._x, self.results)
                if now.outcome:
                    return now.outcome
                self._assign(now.ready)
                self._wait(stopping)

    def _assign(self, ready: tuple[Task, ...]) -> None:
        busy = {worker.task.id for worker in self._workers if worker.task}
        for task in ready:
            if task.id in busy or self._not_before.get(task.id, 0) > time.monotonic():
                continue
            worker = next((worker for worker in self._workers if worker.task is None), None)
            if worker is None:
                if len(self._workers) >= self._size:
                    return
                worker = _Worker(len(self._workers), self._x, self._events)
                self._workers.append(worker)
            worker.give(task, last_try=len(self._attempts.get(task.id, [])) + 1 >= 2)
            self._view.started(task)

    def _wait(self, stopping: Callable[[], bool]) -> None:
        """Take the next event, and all that came with it."""
        while True:
            if stopping():
                raise Interrupted("stopped; nothing is lost, the same command goes on from here")
            with contextlib.suppress(queue.Empty):
                self._take(*self._events.get(timeout=0.2))
                while not self._events.empty():
                    self._take(*self._events.get())
                return
            if any(0 < at <= time.monotonic() for at in self._not_before.values()):
                self._not_before = {t: at for t, at in self._not_before.items() if at > time.monotonic()}
                return

    def _take(self, worker: _Worker, event: dict[str, Any]) -> None:
        task = worker.task
        match event["event"]:
            case "progress" if task:
                self._view.progress(task, event["done"], event["total"])
            case "result" if task:
                worker.task = None
                result = RESULT.validate_python(event["result"])
                self.results[task.id] = result
                self._view.finished(task, result, self.results)
            case "failed" if task:
                worker.task = None
                self._failed(task, ExitCode(event["exit"]), event["message"])
            case "ended":
                self._workers.remove(worker)
                if task:
                    self._failed(task, *_death(event["exit"], worker.last_words()))

    def _failed(self, task: Task, code: ExitCode, message: str) -> None:
        attempts = self._attempts.setdefault(task.id, [])
        attempts.append(Attempt(task=task.id, number=len(attempts) + 1, exit=code, message=message))
        decision = retry(self._x.limits, attempts)
        if isinstance(decision, GiveUp):
            raise Stopped(task, decision, code)
        self._not_before[task.id] = time.monotonic() + decision.seconds
        self._view.failed(attempts[-1], task, decision.seconds)

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            for worker in self._workers:
                worker.stop()
            deadline = time.monotonic() + STOP_SECONDS
            for worker in self._workers:
                worker.end(deadline)


def _death(status: int, last_words: str) -> tuple[ExitCode, str]:
    if status == -signal.SIGKILL:
        return ExitCode.OUT_OF_MEMORY, "the worker was killed (signal 9): out of memory, unless a person did it"
    if status in set(ExitCode):
        return ExitCode(status), f"the worker ended with {ExitCode(status).name}: {last_words}"
    return ExitCode.INTERNAL, f"the worker died (status {status}): {last_words}"


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question; a second SIGINT ends at once."""
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        if asked and number == signal.SIGINT:
            os._exit(ExitCode.INTERRUPTED)
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

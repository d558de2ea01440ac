"""The local runner: drives worker processes on this machine until the plan has an outcome.

It keeps nothing that matters. Results are read back from the store at the start; everything after that is the
plan's decision. Workers run in sessions of their own, so that the terminal's Ctrl-C reaches only the runner,
which asks them to stop at their next chunk.
"""

import contextlib
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from darwinmerge.errors import DarwinError, ExitCode, Interrupted
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import begin
from darwinmerge.pipeline.known import Outcome
from darwinmerge.pipeline.local import LocalWorker, death
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import RESULT, Result, TaskId
from darwinmerge.pipeline.retry import Attempt, GiveUp, retry, without_report
from darwinmerge.pipeline.tasks import Task
from darwinmerge.store import open_store

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


class Runner:
    """One run of an experiment."""

    def __init__(self, experiment: Experiment, workers: int, view: View) -> None:
        """A run with at most `workers` processes."""
        self._x, self._size, self._view = experiment, workers, view
        self._store = open_store(experiment.where.store)
        self._events: queue.Queue[tuple[LocalWorker, dict[str, Any]]] = queue.Queue()
        self._workers: list[LocalWorker] = []
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
        self.results = begin(self._x, self._store)
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
                worker = self._hire()
                self._workers.append(worker)
            before = [attempt.exit for attempt in self._attempts.get(task.id, [])]
            worker.give(task, last_try=ExitCode.EVALUATOR_FAILED in before)
            self._view.started(task)

    def _hire(self) -> LocalWorker:
        """A new worker; with several on CUDA, each has a device of its own."""
        number = next(n for n in range(self._size) if all(worker.number != n for worker in self._workers))
        where = self._x.where
        if where.device == "cuda" and self._size > 1:
            where = where.model_copy(update={"device": f"cuda:{number}"})
        return LocalWorker(number, where, self._events)

    def _wait(self, stopping: Callable[[], bool]) -> None:
        """Take events until one of them may change what is to be done, or a task is due again."""
        while True:
            if stopping():
                raise Interrupted("stopped; nothing is lost, the same command goes on from here")
            news = False
            with contextlib.suppress(queue.Empty):
                news = self._take(*self._events.get(timeout=0.2))
                while not self._events.empty():
                    news |= self._take(*self._events.get())
            if news:
                return
            if any(0 < at <= time.monotonic() for at in self._not_before.values()):
                self._not_before = {t: at for t, at in self._not_before.items() if at > time.monotonic()}
                return

    def _take(self, worker: LocalWorker, event: dict[str, Any]) -> bool:
        """Take an event in; whether it is more than progress."""
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
                message = event["message"]
                if event["leaving"]:  # it gets no other task, which would be blamed for its end
                    self._workers.remove(worker)
                    message += worker.keep_log()
                self._failed(task, ExitCode(event["exit"]), message)
            case "ended":
                if worker in self._workers:
                    self._workers.remove(worker)
                if task:
                    code, message = death(event["exit"], worker.last_words())
                    worker.task = None
                    self._failed(task, code, message + worker.keep_log())
        return bool(event["event"] != "progress")

    def _failed(self, task: Task, code: ExitCode, message: str) -> None:
        attempts = self._attempts.setdefault(task.id, [])
        attempts.append(Attempt(task=task.id, number=len(attempts) + 1, exit=code, message=message))
        decision = retry(self._x.limits, attempts)
        if isinstance(decision, GiveUp):
            result = without_report(task, decision.message)
            if result is None:
                raise Stopped(task, decision, code)
            self.results[task.id] = result
            self._view.finished(task, result, self.results)
            return
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

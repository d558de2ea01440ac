"""What a person sees of a run: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.progress import summarise
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge.pipeline.retry import Attempt
from darwinmerge.pipeline.tasks import ScoreInputs, Task
from darwinmerge.report.lines import line, title

EVERY_SECONDS = 15.0  # a line of progress at most this often, where there is no terminal


class Clock:
    """The time left, from the questions that were asked since the run began."""

    def __init__(self) -> None:
        """A clock that has seen nothing yet."""
        self._since: tuple[float, int] | None = None

    def left(self, done: int, total: int) -> str:
        """`about 3 min left`, or nothing as long as there is no rate."""
        now = time.monotonic()
        if self._since is None:
            self._since = (now, done)
        seconds, asked = now - self._since[0], done - self._since[1]
        if asked <= 0 or seconds < 1 or not total:
            return ""
        remaining = (total - done) * seconds / asked
        return f"about {remaining / 60:.0f} min left" if remaining >= 90 else f"about {remaining:.0f} s left"


class Terminal:
    """Live bars with rich, or plain lines; both tell stage, candidate, question and time left."""

    def __init__(self, experiment: Experiment, console: Console) -> None:
        """A view of one run on `console`; plain where it is no terminal."""
        self._x, self._console = experiment, console
        self._started = time.monotonic()
        self._clock = Clock()
        self._told = 0.0
        self._flight: dict[TaskId, tuple[int, int]] = {}
        self._done = self._now = self._total = 0
        self._bars: dict[TaskId, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("questions", total=None, left="")

    def __enter__(self) -> Self:
        """Start the bars."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away; the lines stay."""
        self._progress.stop()

    def known(self, results: Mapping[TaskId, Result]) -> None:
        """Results that the store had already."""
        if results:
            self._say(f"going on: {len(results)} results are in the store")
        self._count(results)

    def started(self, task: Task) -> None:
        """See `View.started`."""
        self._bars[task.id] = self._progress.add_task(title(task, self._x), total=None, left="")

    def progress(self, task: Task, done: int, total: int) -> None:
        """See `View.progress`."""
        if isinstance(task.inputs, ScoreInputs):
            self._flight[task.id] = (done, total)
        if task.id in self._bars:
            self._progress.update(self._bars[task.id], completed=done, total=total)
        self._overall()
        if not self._console.is_terminal and time.monotonic() - self._told > EVERY_SECONDS:
            unit = "questions" if isinstance(task.inputs, ScoreInputs) else "steps"
            self._say(f"{title(task, self._x)}: {done}/{total} {unit}  {self._left()}".rstrip())

    def finished(self, task: Task, result: Result, results: Mapping[TaskId, Result]) -> None:
        """See `View.finished`."""
        self._drop(task)
        self._count(results)
        self._say(line(task, result, self._x))

    def failed(self, attempt: Attempt, task: Task, again_in: float) -> None:
        """See `View.failed`."""
        self._drop(task)
        again = f"again in {again_in:.0f} s" if again_in else "again"
        self._say(f"{title(task, self._x)}: attempt {attempt.number} failed, {again}: {attempt.message}")

    def _drop(self, task: Task) -> None:
        self._flight.pop(task.id, None)
        bar = self._bars.pop(task.id, None)
        if bar is not None:
            self._progress.remove_task(bar)

    def _count(self, results: Mapping[TaskId, Result]) -> None:
        far = summarise(self._x, results)
        self._done, self._total = far.questions, far.questions_total
        self._overall()

    def _overall(self) -> None:
        done = min(self._done + sum(asked for asked, _ in self._flight.values()), self._total)
        self._now = done
        total = self._total or None
        self._progress.update(self._all, completed=done, total=total, left=self._left())

    def _left(self) -> str:
        return self._clock.left(self._now, self._total)

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        seconds = int(self._told - self._started)
        self._console.print(
            f"{seconds // 60:02d}:{seconds % 60:02d}  {text}", markup=False, highlight=False, soft_wrap=True
        )

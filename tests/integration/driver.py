"""A runner that says which tasks it starts and which have finished, a JSON line each, for tests that kill it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from darwinmerge.experiment.experiment import experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge.pipeline.retry import Attempt
from darwinmerge.pipeline.runner import Runner
from darwinmerge.pipeline.tasks import Task
from darwinmerge.store import layout


class Told:
    """A view that prints."""

    def known(self, results: Mapping[TaskId, Result]) -> None:
        pass

    def started(self, task: Task) -> None:
        print(json.dumps({"started": layout.result(task.stage, task.id)}), flush=True)

    def progress(self, task: Task, done: int, total: int) -> None:
        pass

    def finished(self, task: Task, result: Result, results: Mapping[TaskId, Result]) -> None:
        print(json.dumps({"finished": layout.result(task.stage, task.id)}), flush=True)

    def failed(self, attempt: Attempt, task: Task, again_in: float) -> None:
        print(json.dumps({"failed": attempt.message}), flush=True)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    outcome = Runner(experiment_of(load(path), path.parent), int(sys.argv[2]), Told()).run()
    print(json.dumps({"outcome": outcome.reason}), flush=True)

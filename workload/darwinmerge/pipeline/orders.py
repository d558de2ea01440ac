"""What passes between a driver and a pod: orders go in as JSON, one bounded message comes out.

A pod's only way to answer whoever can't read the store is its termination message, of which a kubelet keeps 4,096
bytes. So a message tells of the first `told` orders, as many as fit; of the others the driver asks again, and they are
answered from the store.
"""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import model_validator

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Bindings, Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge.pipeline.retention import Spent
from darwinmerge.pipeline.tasks import Task

MESSAGE_BYTES = 4096
FAILURE_LETTERS = 600  # of an error's message
POD_NAME = "POD_NAME"  # the variable that tells a pod its own name

Part = Literal["all", "merge", "evaluate"]


class Order(Frozen):
    """One task to do, or one part of it."""

    id: TaskId  # as the driver computes it; another one here is version skew
    task: Task
    part: Part = "all"  # of a score: only stage the merged child in the store, or only benchmark what is staged there
    last_try: bool = False  # the evaluator has failed on this model before: a second failure rejects the model

    @model_validator(mode="after")
    def _has_parts(self) -> Self:
        if self.part != "all" and self.task.stage != "score":
            raise ValueError(f"a {self.task.stage} task has no parts; only score tasks have")
        return self


class Orders(Frozen):
    """What a pod shall do, in this order."""

    version: Literal[1] = 1  # of what passes between driver and pod; another one is refused
    where: Bindings
    claim: Experiment | None = None  # first of all, make the store this experiment's, or refuse another's
    orders: tuple[Order, ...] = ()
    drop: Spent = ()  # then, recipes whose staged children nobody needs any more
    finish: Experiment | None = None  # last, leave the summary of this experiment, which has its outcome


class Failure(Frozen):
    """Why the pod ended before its last order."""

    task: TaskId
    exit: ExitCode
    message: str


class Message(Frozen):
    """What the pod did."""

    version: Literal[1] = 1
    told: int = 0  # of the orders, from the first on: what this message tells of
    results: tuple[Result, ...] = ()  # theirs, in order; a merged part has none, nor has a task that isn't recalled
    failed: Failure | None = None


def order(task: Task, part: Part = "all", last_try: bool = False) -> Order:
    """An order for a task."""
    return Order(id=task.id, task=task, part=part, last_try=last_try)


def encode(answers: Iterable[Result | None], failed: Failure | None = None) -> bytes:
    """The message of a pod whose first orders have these answers; at most `MESSAGE_BYTES`, whatever their number."""
    if failed:
        failed = failed.model_copy(update={"message": failed.message[:FAILURE_LETTERS]})
    message = Message(failed=failed)
    for answer in answers:
        results = (*message.results, answer) if answer else message.results
        longer = Message(told=message.told + 1, results=results, failed=failed)
        if len(_bytes(longer)) > MESSAGE_BYTES:
            break
        message = longer
    return _bytes(message)


def _bytes(message: Message) -> bytes:
    return message.model_dump_json(by_alias=True).encode()

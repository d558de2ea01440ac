"""Results from the store, for drivers that can't read it: nothing is computed, and nothing heavy imported."""

import sys
from pathlib import Path

from darwinmerge.errors import DarwinError
from darwinmerge.experiment.places import require_places
from darwinmerge.pipeline.claim import begin, fetch_result
from darwinmerge.pipeline.orders import Failure, Orders, encode
from darwinmerge.pipeline.results import Result
from darwinmerge.pipeline.tasks import Task
from darwinmerge.store import Store, layout, open_store


def recalled(store: Store, task: Task) -> Result | None:
    """The result of a task that the store has, or None; it never computes."""
    try:
        result = fetch_result(store, layout.result(task.stage, task.id))
    except KeyError:
        return None
    return result if result.task == task.id else None


def recall(orders: Orders, message: Path | None) -> None:
    """Answer as many orders as one message holds, to the file `message`, or to stdout."""
    answer, failure = b"", None
    try:
        store = open_store(orders.where.store)
        if orders.claim:
            require_places(orders.claim)
            begin(orders.claim, store)
        answer = encode(recalled(store, order.task) for order in orders.orders)
    except DarwinError as error:
        failure = error
        answer = encode((), Failure(task="", exit=error.code, message=str(error)))
    if message:
        message.write_bytes(answer)
    else:
        sys.stdout.write(answer.decode() + "\n")
    if failure:
        raise failure

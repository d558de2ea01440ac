"""A worker as a process of its own: tasks come in on stdin, progress and results go out on stdout, a line each.

What libraries print goes to stderr, so that nothing but our lines is on stdout. When the driver dies, stdin ends,
and the worker with it, at once: nothing is lost by that, since whatever counts is in the store.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import RESULT
from darwinmerge.pipeline.tasks import Task
from darwinmerge.pipeline.worker import exit_code, perform, words
from darwinmerge.store import open_store

TELL_SECONDS = 0.2  # progress is told no more often than this


def main() -> None:
    """Serve one driver until it closes stdin or asks for an end."""
    out = _take_stdout()
    where = Bindings.model_validate_json(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the driver's to answer
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    told = 0.0

    def say(kind: str, **fields: Any) -> None:
        out.write(json.dumps({"event": kind, **fields}) + "\n")
        out.flush()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            say("progress", done=done, total=total)

    place = Place(where, open_store(where.store), stop, tell)
    while not stop.is_set():
        try:
            order = json.loads(orders.get(timeout=0.2))
        except queue.Empty:
            continue
        try:
            task = Task.model_validate(order["task"])
            result = perform(task, order["id"], place, order["last_try"])
        except Exception as error:
            code = exit_code(error)
            traceback.print_exc()
            message = words(error)
            leaving = code in (ExitCode.INTERNAL, ExitCode.OUT_OF_MEMORY, ExitCode.EVALUATOR_FAILED)
            say("failed", exit=int(code), message=message, leaving=leaving)
            if leaving:
                os._exit(code)  # its memory may be in any state: a fresh process takes over
        else:
            say("result", result=json.loads(RESULT.dump_json(result, by_alias=True)))
    sys.exit(ExitCode.INTERRUPTED)


def _take_stdout() -> TextIO:
    """Keep the real stdout for our lines, and send what others print to stderr."""
    ours = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return ours


def _listen(orders: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        orders.put(line)
    os._exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()

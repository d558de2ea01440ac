"""A worker in a pod: does its orders one after the other, writes the store, and then one bounded message.

Asked to stop (SIGTERM), it stops at its next block, shard or chunk. Where that takes too long (a library is being
imported, a GPU is busy) it ends all the same before the kubelet kills it: whatever counts is in the store already.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
import uuid
from pathlib import Path

from darwinmerge.errors import DarwinError, ExitCode, Interrupted
from darwinmerge.pipeline.claim import claim, held
from darwinmerge.pipeline.log import Log
from darwinmerge.pipeline.orders import POD_NAME, Failure, Order, Orders, encode
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import Result
from darwinmerge.pipeline.worker import exit_code, perform, prepare, words
from darwinmerge.publish.staged import drop
from darwinmerge.store import Store, layout, open_store

STOP_SECONDS = 8.0  # from SIGTERM to the end, at most


def work(orders: Orders, message: Path | None) -> ExitCode:
    """Do the orders; the message goes to the file `message`, last of all."""
    stop, log = threading.Event(), Log()
    answers: list[Result | None] = []
    now: list[Order] = []

    def leave(code: ExitCode, text: str, store: Store | None) -> None:
        failed = Failure(task=now[-1].id if now else "", exit=code, message=text) if code else None
        log.say("end", exit=int(code), **({"message": text} if text else {}))
        if store:
            for one in now or orders.orders[:1]:
                _keep_log(log, store, one)
        if message:
            message.write_bytes(encode(answers, failed))

    def hurry() -> None:
        leave(ExitCode.INTERRUPTED, "stopped in the middle of a piece of work, which will be done again", None)
        sys.stdout.flush()
        os._exit(ExitCode.INTERRUPTED)

    def ask(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            timer = threading.Timer(STOP_SECONDS, hurry)
            timer.daemon = True
            timer.start()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    code, text, store = ExitCode.OK, "", None
    try:
        store = open_store(orders.where.store)
        if orders.claim:
            claim(orders.claim, store)
        place = Place(orders.where, store, stop, log.progress)
        for one in orders.orders:
            now.append(one)
            log.task(one.task, one.part)
            place.pause()
            log.say("start")
            answers.append(_do(one, place))
            log.say("done", seconds=log.seconds())
        drop(store, orders.drop)
        if orders.finish:
            from darwinmerge.report.table import keep

            keep(orders.finish, held(orders.finish, store), store)
    except Exception as error:
        code = exit_code(error)
        text = words(error)
        if not isinstance(error, Interrupted):
            log.say("failed", exit=int(code), message=text, traceback=traceback.format_exc())
    leave(code, text, store)
    return code


def _do(one: Order, place: Place) -> Result | None:
    if one.part == "merge":
        return prepare(one.task, one.id, place)
    return perform(one.task, one.id, place, one.last_try)


def _keep_log(log: Log, store: Store, one: Order) -> None:
    """What the log says of an order outlives the pod; a store that can't be reached now has been told of already."""
    name = f"{os.environ.get(POD_NAME) or socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(DarwinError):
        store.create(layout.log(one.task.stage, one.id, name), log.bytes(one.id))

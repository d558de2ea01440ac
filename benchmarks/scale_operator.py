"""The operator as it is, with a note of what it asks and how long it takes: `scale.py` starts it and reads the notes.

A line of JSON on standard output for each request (`verb`, `kind`, `name`, `status` of a Job's or run's, `seconds`),
for each look (`key`), and each second for the process (`cpu`, `rss`). A Job that is created says how long ago the event
came that made the run due: from a watch's event in the handler's hands to the API server's answer.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darwinmerge_operator import main, workqueue
from darwinmerge_operator.api import Api
from darwinmerge_operator.news import GATHER_SECONDS

KINDS = ("status", "jobs", "pods", "configmaps", "events", "darwinmerges")
_lock = threading.Lock()
_heard: dict[Any, float] = {}  # by run: when the first event came that wasn't looked at yet
_looking = threading.local()


def note(**what: Any) -> None:
    """Write a line."""
    with _lock:
        sys.stdout.write(json.dumps({"at": round(time.time(), 4), **what}) + "\n")


def noted_request(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Requests, noted once they are answered."""

    def asked(api: Api, method: str, path: str, body: Any = None, query: Any = None, *more: Any) -> Any:
        started, fate = time.perf_counter(), "answered"
        try:
            return ask(api, method, path, body, query, *more)
        except Exception as error:
            fate = type(error).__name__
            raise
        finally:
            kind = next((kind for kind in KINDS if kind in path.split("/")), "other")
            said: dict[str, Any] = {"run": _looking.key[1]} if hasattr(_looking, "key") else {}
            if (method, kind) == ("POST", "jobs") and _looking.heard:
                said["since"] = round(time.time() - _looking.heard, 4)
            if (method, kind) == ("PATCH", "status"):
                said["candidates"] = (body["status"].get("progress") or {}).get("candidates")
            note(verb=method, kind=kind, seconds=round(time.perf_counter() - started, 4), fate=fate, **said)

    return asked


def noted_look(look: Callable[[Any], float | None]) -> Callable[[Any], float | None]:
    """Looks, noted at their end."""

    def looked(key: Any) -> float | None:
        _looking.key, _looking.heard, started = key, _heard.pop(key, None), time.perf_counter()
        again = look(key)
        note(look=key[1], seconds=round(time.perf_counter() - started, 4))
        return again

    return looked


class Queue(workqueue.WorkQueue[Any]):
    """The queue, with a note of when an event came that is to be looked at soon."""

    def __init__(self, handle: Callable[[Any], float | None]) -> None:
        """As the queue itself."""
        super().__init__(noted_look(handle))

    def add(self, key: Any, delay: float = 0.0) -> None:
        """As the queue itself."""
        if threading.current_thread() is threading.main_thread() and delay <= GATHER_SECONDS:
            _heard.setdefault(key, time.time())
        super().add(key, delay)


def watch_self() -> None:
    """Note processor and memory, each second."""
    while True:
        with Path("/proc/self/status").open() as lines:
            memory = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        note(cpu=time.process_time(), rss=memory["VmRSS"] * 1024, peak=memory["VmHWM"] * 1024)
        sys.stdout.flush()
        time.sleep(1.0)


if __name__ == "__main__":
    Api._ask = noted_request(Api._ask)  # type: ignore[method-assign]
    setattr(main, "WorkQueue", Queue)  # noqa: B010
    threading.Thread(target=watch_self, daemon=True).start()
    main.main()

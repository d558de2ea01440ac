"""One keyed queue for all that may change a run: one thread a key at a time, and nothing is done twice for nothing.

As controllers have it: what is added while it is worked on is worked on once more afterwards, what fails comes back
later and later, what isn't due yet waits. So handlers need no locks, and a storm of events is one reconciliation.
"""

import heapq
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BASE_SECONDS, MAX_SECONDS = 0.5, 60.0  # after a failure; doubled for each further one
log = logging.getLogger(__name__)


class Postponed(Exception):
    """What is raised where a key can't be handled now, and that is nobody's defect."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        """`seconds`: before which it isn't worth trying; where they are known, nothing has failed."""
        super().__init__(why)
        self.seconds = seconds


class WorkQueue(Generic[K]):
    """Keys that wait to be handled."""

    def __init__(self, handle: Callable[[K], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        """A queue whose keys `handle` reconciles; it gives seconds after which the key is due again, or None."""
        self._handle, self._clock = handle, clock
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._busy: dict[K, float] = {}  # when it was begun, or last moved on
        self._mine = threading.local()  # what a thread handles
        self._failures: dict[K, int] = {}
        self._moved = clock()  # when a key was last done
        self._count = 0
        self._closed = False

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have `key` handled in `delay` seconds, or earlier if it is due earlier."""
        with self._changed:
            due = self._clock() + delay
            if key in self._due and self._due[key] <= due:
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._changed.notify()

    def run(self) -> None:
        """Handle keys until the queue is closed; for as many threads as wanted."""
        while (key := self._next()) is not None:
            self._mine.key = key
            try:
                again = self._handle(key)
            except Postponed as error:
                again = error.seconds * random.uniform(1.0, 1.2) if error.seconds else self._backoff(key)
                log.info("again in %.1f s: %s", again, error, extra={"key": key})
            except Exception as error:
                again = self._backoff(key)
                log.warning("reconcile failed, again in %.1f s: %s", again, error, extra={"key": key}, exc_info=True)
            else:
                self._failures.pop(key, None)
            with self._changed:
                del self._busy[key]
                self._moved = self._clock()
                self._changed.notify_all()
            if again is not None:
                self.add(key, again)

    def stir(self) -> None:
        """Something that is waited for has come: for health, whoever handles a key moves on, however slowly."""
        with self._changed:
            self._moved = self._clock()
            key: K | None = getattr(self._mine, "key", None)
            if key in self._busy:
                self._busy[key] = self._moved

    def close(self) -> None:
        """No key is handled any more; those in work are finished."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def depth(self) -> int:
        """Keys that are due now."""
        with self._changed:
            return sum(due <= self._clock() for due in self._due.values())

    def waited(self) -> float:
        """Seconds for which the key that is due longest has been."""
        with self._changed:
            return max(0.0, self._clock() - min(self._due.values(), default=math.inf))

    def lag(self) -> float:
        """Seconds for which a reconciliation doesn't move on, or for which keys are due and none does: health."""
        with self._changed:
            waiting = [max(due, self._moved) for key, due in self._due.items() if key not in self._busy]
            return max([0.0, *(self._clock() - when for when in (*waiting, *self._busy.values()))])

    def _backoff(self, key: K) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        seconds = min(MAX_SECONDS, BASE_SECONDS * 2.0 ** min(self._failures[key] - 1, 16))
        return seconds * random.uniform(0.8, 1.2)

    def _next(self) -> K | None:
        with self._changed:
            while not self._closed:
                now, kept = self._clock(), []
                found: K | None = None
                while self._heap and found is None and self._heap[0][0] <= now:
                    entry = heapq.heappop(self._heap)
                    if self._due.get(entry[2]) != entry[0]:
                        continue  # it became due earlier
                    if entry[2] in self._busy:
                        kept.append(entry)
                    else:
                        found = entry[2]
                for entry in kept:
                    heapq.heappush(self._heap, entry)
                if found is not None:
                    del self._due[found]
                    self._busy[found] = now
                    return found
                waiting = [due for due, _, key in self._heap if key not in self._busy]
                self._changed.wait(max(0.0, min(waiting) - now) if waiting else None)
        return None

"""The operator's queue: one thread a key, nothing lost, nothing twice for nothing."""

import threading
import time
from collections import Counter

from darwinmerge_operator.workqueue import Postponed, WorkQueue


def started(queue: WorkQueue[str], threads: int = 3) -> list[threading.Thread]:
    running = [threading.Thread(target=queue.run) for _ in range(threads)]
    for thread in running:
        thread.start()
    return running


def wait(condition: threading.Event) -> None:
    assert condition.wait(10)


def test_a_key_added_many_times_is_handled_once() -> None:
    handled: list[str] = []
    end = threading.Event()

    def handle(key: str) -> None:
        handled.append(key)
        if key == "last":
            end.set()

    queue = WorkQueue(handle)
    for _ in range(100):
        queue.add("a")
    queue.add("last", 0.01)
    threads = started(queue)
    wait(end)
    queue.close()
    for thread in threads:
        thread.join()
    assert handled == ["a", "last"]


def test_one_key_is_never_handled_by_two_threads_and_what_comes_meanwhile_is_handled_after() -> None:
    busy, most, seen = Counter[str](), Counter[str](), Counter[str]()
    first, end = threading.Event(), threading.Event()

    def handle(key: str) -> None:
        busy[key] += 1
        most[key] = max(most[key], busy[key])
        seen[key] += 1
        first.set()
        time.sleep(0.02)
        busy[key] -= 1
        if seen["a"] == 2:
            end.set()

    queue = WorkQueue(handle)
    queue.add("a")
    threads = started(queue)
    wait(first)
    for _ in range(10):
        queue.add("a")
    wait(end)
    queue.close()
    for thread in threads:
        thread.join()
    assert seen["a"] == 2
    assert most["a"] == 1


def test_what_fails_comes_back_and_others_are_not_held_up() -> None:
    seen: list[str] = []
    end = threading.Event()

    def handle(key: str) -> None:
        seen.append(key)
        if key == "bad" and seen.count("bad") < 2:
            raise ValueError("once")
        if {"good", "bad"} <= set(seen) and seen.count("bad") == 2:
            end.set()

    queue = WorkQueue(handle)
    queue.add("bad")
    queue.add("good")
    threads = started(queue, 1)
    wait(end)
    queue.close()
    for thread in threads:
        thread.join()
    assert seen == ["bad", "good", "bad"]


def test_a_key_that_asks_for_it_comes_again_later_but_an_event_brings_it_at_once() -> None:
    seen: list[float] = []
    end = threading.Event()

    def handle(key: str) -> float | None:
        seen.append(time.monotonic())
        if len(seen) == 1:
            return 3600.0
        end.set()
        return None

    queue = WorkQueue(handle)
    queue.add("a")
    threads = started(queue)
    while not seen:
        time.sleep(0.001)
    queue.add("a")
    wait(end)
    queue.close()
    for thread in threads:
        thread.join()
    assert len(seen) == 2


def test_the_lag_shows_a_reconciliation_that_hangs() -> None:
    now = [0.0]
    hang, inside = threading.Event(), threading.Event()

    def handle(key: str) -> None:
        inside.set()
        hang.wait(10)

    queue = WorkQueue(handle, clock=lambda: now[0])
    queue.add("a")
    threads = started(queue, 1)
    wait(inside)
    assert queue.lag() == 0.0
    now[0] = 90.0
    assert queue.lag() == 90.0
    hang.set()
    queue.close()
    for thread in threads:
        thread.join()


def test_what_is_postponed_comes_back_no_earlier_than_it_may() -> None:
    seen: list[float] = []
    end = threading.Event()

    def handle(key: str) -> None:
        seen.append(time.monotonic())
        if len(seen) == 1:
            raise Postponed("a pause", 1.0)
        end.set()

    queue = WorkQueue(handle)
    queue.add("a")
    threads = started(queue)
    wait(end)
    queue.close()
    for thread in threads:
        thread.join()
    assert seen[1] - seen[0] >= 1.0


def test_a_reconciliation_that_waits_for_one_slow_answer_after_the_other_doesnt_hang() -> None:
    now = [0.0]
    asked, answer, end = threading.Event(), threading.Event(), threading.Event()

    def handle(key: str) -> None:
        asked.set()
        answer.wait(10)
        queue.stir()
        end.set()
        answer.clear()
        answer.wait(10)

    queue = WorkQueue(handle, clock=lambda: now[0])
    queue.add("a")
    threads = started(queue, 1)
    wait(asked)
    queue.add("b")  # which has to wait
    now[0] = 90.0
    answer.set()
    wait(end)
    assert queue.lag() == 0.0
    now[0] = 100.0
    assert queue.lag() == 10.0
    answer.set()
    queue.close()
    for thread in threads:
        thread.join()

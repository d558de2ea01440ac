"""Work on several threads whose results come in order, a few at a time: what comes out is what one thread gives.

Large things are cut into parts, so that one of them keeps all threads busy and none is in memory as a whole.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def cores() -> int:
    """Cores that this process may use: in a container, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(jobs: Iterable[Callable[[], T]], threads: int | None = None) -> Generator[T, None, None]:
    """Results of `jobs`, in their order; at most two a thread are held, so memory doesn't grow with their number.

    The jobs must release the GIL to gain from it, as compiled kernels and numpy do.
    """
    threads = threads or cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_groups(groups: Iterable[Sequence[Callable[[], T]]], threads: int | None = None) -> Iterator[list[T]]:
    """Results of each group's jobs, at least one a group, as `in_order`; the next groups are worked on meanwhile."""
    sizes: deque[int] = deque()

    def jobs() -> Iterator[Callable[[], T]]:
        for group in groups:
            sizes.append(len(group))
            yield from group

    with closing(in_order(jobs(), threads)) as results:
        for first in results:
            yield [first, *islice(results, sizes.popleft() - 1)]


def cut(whole: slice, step: int) -> list[slice]:
    """A slice in parts of `step` elements, the last one shorter; at least one, which may be empty."""
    starts = range(whole.start, whole.stop, step) or [whole.start]
    return [slice(start, min(start + step, whole.stop)) for start in starts]

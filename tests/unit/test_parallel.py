"""What several threads give is what one would, in its order."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from darwinmerge.parallel import cut, in_groups, in_order


def squares(*numbers: int) -> list[Callable[[], int]]:
    return [partial(pow, number, 2) for number in numbers]


def test_results_come_in_the_order_of_their_jobs_whichever_is_done_first() -> None:
    last = threading.Event()

    def first() -> str:
        assert last.wait(60)
        return "first"

    def second() -> str:
        last.set()
        return "second"

    assert list(in_order([first, second], 2)) == ["first", "second"]


def test_results_of_groups_stay_together_and_the_next_groups_are_begun_meanwhile() -> None:
    begun: list[int] = []

    def groups() -> Iterator[list[Callable[[], int]]]:
        for number in range(100):
            begun.append(number)
            yield squares(*range(number % 3 + 1))

    found = in_groups(groups(), 2)
    assert next(found) == [0]
    assert 1 < len(begun) < 10
    assert list(found) == [[0, 1, 4][: number % 3 + 1] for number in range(1, 100)]


def test_a_job_that_fails_fails_its_group_and_no_other_is_begun() -> None:
    begun: list[int] = []

    def job(number: int) -> int:
        begun.append(number)
        return 1 // number

    found = in_groups(([partial(job, number)] for number in (1, 0, *range(2, 100))), 1)
    assert next(found) == [1]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert len(begun) < 10


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        (slice(0, 7), [slice(0, 3), slice(3, 6), slice(6, 7)]),
        (slice(4, 10), [slice(4, 7), slice(7, 10)]),
        (slice(5, 5), [slice(5, 5)]),
    ],
)
def test_a_slice_is_cut_into_parts_that_cover_it(whole: slice, parts: list[slice]) -> None:
    assert cut(whole, 3) == parts

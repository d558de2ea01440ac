"""What is remembered of runs saves requests, and never stands in the way of the truth."""

from dataclasses import dataclass
from typing import Any

from darwinmerge_operator.remembered import FRESH_SECONDS, Remembered

KEY = ("team", "my-merge")


@dataclass
class Clock:
    """Time, as a test wants it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def found(version: str, uid: str = "one") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": version, "managedFields": [{}]}, "spec": {}}


def version(remembered: Remembered) -> str | None:
    kept = remembered.run(KEY)
    return kept["metadata"]["resourceVersion"] if kept else None


def test_what_was_heard_of_is_known_without_what_nobody_needs() -> None:
    remembered = Remembered()
    remembered.keep_run(KEY, found("7"))
    assert remembered.run(KEY) == {"metadata": {"uid": "one", "resourceVersion": "7"}, "spec": {}}


def test_a_late_event_doesnt_replace_what_we_have_written_since() -> None:
    remembered = Remembered()
    remembered.keep_run(KEY, found("10"))
    remembered.keep_run(KEY, found("9"))
    assert version(remembered) == "10"


def test_a_new_resource_of_the_same_name_replaces_the_old_one() -> None:
    remembered = Remembered()
    remembered.keep_run(KEY, found("10"))
    remembered.keep_run(KEY, found("9", uid="two"))
    assert version(remembered) == "9"


def test_versions_that_are_no_numbers_arent_compared() -> None:
    remembered = Remembered()
    remembered.keep_run(KEY, found("b"))
    remembered.keep_run(KEY, found("a"))
    assert version(remembered) == "a"


def test_nothing_is_trusted_for_long() -> None:
    clock = Clock()
    remembered = Remembered(clock)
    remembered.keep_run(KEY, found("1"))
    remembered.keep_ledger(KEY, found("2"))
    clock.now += FRESH_SECONDS
    assert (remembered.run(KEY), remembered.ledger(KEY)) == (None, None)


def test_what_is_forgotten_is_read_anew() -> None:
    remembered = Remembered()
    remembered.keep_run(KEY, found("1"))
    remembered.keep_ledger(KEY, found("2"))
    remembered.forget_ledger(KEY)
    assert (version(remembered), remembered.ledger(KEY)) == ("1", None)
    remembered.forget(KEY)
    assert version(remembered) is None

"""A status is read whichever version of the operator has left it, and written where more than time has changed."""

from typing import Any

import pytest

from darwinmerge_operator.status import Status
from darwinmerge_operator.view import differs, read
from tests.clustered import longest_status
from tests.unit.decided import HOUR
from tests.unit.looks import finished, on_the_way, running
from tests.unit.plan_world import experiment


def newer(status: Status, **told: Any) -> dict[str, Any]:
    """A status as an operator of a later version may have left it."""
    return {**status.model_dump(mode="json", by_alias=True, exclude_none=True), **told}


def test_what_only_a_newer_operator_knows_is_left_out_of_a_status_and_the_rest_is_read() -> None:
    status = finished(experiment(steps=1)).status
    there = newer(status, future={"a": 1})
    there["best"]["future"] = there["conditions"][0]["future"] = "x"
    assert read(there) == status


@pytest.mark.parametrize("strange", [{"type": "Ready", "reason": "Warming"}, {"type": "Blessed", "reason": "Yes"}])
def test_a_condition_of_a_kind_or_reason_that_is_unknown_is_left_out_alone(strange: dict[str, str]) -> None:
    status = finished(experiment(steps=1)).status
    kept = tuple(one for one in status.conditions if one.type != "Ready")
    plain = status.model_copy(update={"conditions": kept})
    there = newer(plain)
    there["conditions"].append({"status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", **strange})
    assert read(there) == plain


def test_a_field_of_which_nothing_can_be_made_is_left_out_alone() -> None:
    status = finished(experiment(steps=1)).status
    there = newer(status)
    there["verdict"]["label"] = "BetterThanEver"
    assert read(there) == status.model_copy(update={"verdict": None})


@pytest.mark.parametrize("found", [None, {"phase": 5}, {"colour": "red"}])
def test_a_status_that_cannot_be_read_is_none(found: Any) -> None:
    assert read(found) is None


def test_the_status_that_the_server_gives_a_new_object_can_be_read() -> None:
    assert read({"observedGeneration": -1}) == Status()


def test_time_alone_is_not_worth_writing() -> None:
    looks = on_the_way(600.0)
    looks.with_jobs(pods=running(looks.now))
    looks.step()
    first = looks.status
    looks.now += HOUR
    looks.step()
    assert first.active_seconds != looks.status.active_seconds
    assert first.shown != looks.status.shown
    assert not differs(first, looks.status)


@pytest.mark.parametrize("name", sorted(set(Status.model_fields) - {"active_seconds", "shown"}))
def test_anything_else_is(name: str) -> None:
    status = longest_status()
    assert differs(status, status.model_copy(update={name: Status.model_fields[name].get_default()}))


def test_the_first_status_is_worth_writing() -> None:
    assert differs(None, Status())

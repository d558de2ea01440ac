"""A run that is looked at again and again: what each look shows, and what is told after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from darwinmerge_operator.decision import Decision
from darwinmerge_operator.seen import SeenPod
from darwinmerge_operator.status import Condition, ConditionType, Status
from darwinmerge_operator.tell import Event, events_of
from darwinmerge_operator.view import condition, read, status_of
from tests.unit.decided import Run

BETWEEN = 7.0  # seconds from one look to the next


@dataclass
class Looks(Run):
    """Keeps each look's status and events."""

    statuses: list[Status] = field(default_factory=list)
    events: list[tuple[Event, ...]] = field(default_factory=list)

    @property
    def before(self) -> Status | None:
        return self.statuses[-1] if self.statuses else None

    @property
    def status(self) -> Status:
        return self.statuses[-1]

    @property
    def told(self) -> list[str]:
        """Every event so far, as `Reason: message`."""
        return [f"{event.reason}: {event.message}" for look in self.events for event in look]

    def step(self, **policy: Any) -> Decision:
        seen = self.seen(**policy)
        found = super().step(**policy)
        status = status_of(seen, found, self.before)
        restored = read(status.model_dump(mode="json", by_alias=True, exclude_none=True))
        assert restored == status
        self.events.append(events_of(self.before, status, seen, found))
        self.statuses.append(status)
        self.now += BETWEEN
        return found

    def condition(self, kind: ConditionType) -> Condition | None:
        return condition(self.status, kind)

    def says(self, kind: ConditionType) -> tuple[str, str] | None:
        """A condition's status and reason."""
        found = self.condition(kind)
        return (found.status, found.reason) if found else None

    def with_jobs(self, **changes: Any) -> None:
        """All Jobs that are there, changed."""
        self.jobs = tuple(job.model_copy(update=changes) for job in self.jobs)


def running(since: float) -> Sequence[SeenPod]:
    """The Pod of a Job that runs."""
    return (SeenPod(name="p", uid="p", running_since=since),)

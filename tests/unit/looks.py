"""A run that is looked at again and again: what each look shows, and what is told after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from darwinmerge.experiment.experiment import Experiment
from darwinmerge_operator.decision import Decision, Policy
from darwinmerge_operator.seen import SeenPod
from darwinmerge_operator.status import Condition, ConditionType, Status
from darwinmerge_operator.tell import Event, events_of
from darwinmerge_operator.view import condition, read, status_of
from tests.unit.decided import Run
from tests.unit.plan_world import World, experiment

BETWEEN = 7.0  # seconds from one look to the next
WIDE = World(grain=1e-9)  # no recipe comes twice


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


def finished(x: Experiment, world: World = WIDE) -> Looks:
    looks = Looks(x)
    looks.all(world)
    return looks


def at_mri() -> Looks:
    """A run whose MRI has just been started."""
    looks = Looks(experiment())
    looks.until(WIDE, "mri")
    return looks


def on_the_way(active: float) -> Looks:
    """A run that has asked 240 of its 600 questions in `active` seconds."""
    looks = Looks(experiment(steps=2, candidates=3, finalists=1), Policy(parallelism=1))
    started = looks.step().start
    while not looks.status.progress or looks.status.progress.questions < 240:
        looks.finish(WIDE, started)
        started = looks.step().start
    looks.ledger = looks.ledger.model_copy(update={"active_seconds": active})
    return looks

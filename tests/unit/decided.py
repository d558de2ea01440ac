"""A run as the operator's decisions lead it: Jobs in memory that end as a test wants, and what is decided then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.orders import Message, Order, encode
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge_operator.decide import decide
from darwinmerge_operator.decision import Decision, Policy, Seen
from darwinmerge_operator.ending import Ending
from darwinmerge_operator.job import Start
from darwinmerge_operator.ledger import Ledger, from_data, to_data
from darwinmerge_operator.seen import SeenJob, SeenPod
from tests.unit.plan_world import World

HOUR = 3600.0


def done(message: Message | bytes) -> Ending:
    heard = Message.model_validate_json(message) if isinstance(message, bytes) else message
    return Ending(reason="Done", exit=ExitCode.OK, text="", message=heard)


def failed(code: ExitCode) -> Ending:
    return Ending(reason="ExitCode", exit=code, text=f"it ended with {code.name}")


def job_of(start: Start, now: float, **more: Any) -> SeenJob:
    task, tasks = start.task, tuple(one.id for one in start.orders.orders)
    name = f"{task}-{start.part}-{start.attempt}"
    times = {"created": now, "waiting_since": now}
    fields = {"name": name, "task": task, "part": start.part, "tasks": tasks, "attempt": start.attempt, **times}
    fields |= {"stage": start.stage}
    return SeenJob(**(fields | more))


@dataclass
class Run:
    """Feeds `decide` with what its own decisions lead to."""

    x: Experiment
    policy: Policy = field(default_factory=lambda: Policy(parallelism=3))
    store: Mapping[TaskId, Result] = field(default_factory=dict)  # what recall finds
    ledger: Ledger = field(default_factory=Ledger)
    jobs: tuple[SeenJob, ...] = ()
    now: float = HOUR
    retry: str = ""
    generation: int = 1

    def seen(self, **policy: Any) -> Seen:
        return Seen(
            experiment=self.x,
            policy=self.policy.model_copy(update=policy),
            generation=self.generation,
            retry_requested=self.retry,
            ledger=self.ledger,
            jobs=self.jobs,
            now=self.now,
        )

    def decide(self, **policy: Any) -> Decision:
        return decide(self.seen(**policy))

    def step(self, **policy: Any) -> Decision:
        """Decide, and do it."""
        found = self.decide(**policy)
        restored = from_data(to_data(found.ledger))
        assert restored == found.ledger
        self.ledger = found.ledger
        kept = tuple(job for job in self.jobs if job.name not in found.remove)
        self.jobs = (*kept, *(job_of(start, self.now) for start in found.start))
        return found

    def end(self, job: SeenJob, ending: Ending, **how: bool) -> None:
        pod = SeenPod(name=f"{job.name}-x", uid="x", ending=ending, finished_at=self.now)
        self.jobs = tuple(j.model_copy(update={"pods": (pod,), **how}) if j.name == job.name else j for j in self.jobs)

    def finish(self, world: World, starts: Sequence[Start]) -> None:
        """The Jobs of these starts complete, and tell what the world answers."""
        for start in starts:
            job = next(job for job in self.jobs if job.name == job_of(start, 0).name)
            answers: list[Result | None] = [self._answer(world, start, one) for one in start.orders.orders]
            self.end(job, done(encode(answers)), complete=True)

    def _answer(self, world: World, start: Start, one: Order) -> Result | None:
        if start.verb == "recall":
            return self.store.get(one.id)
        return None if start.part == "merge" else world.answer(one.task)

    def until(self, world: World, stage: str) -> Decision:
        """Go on until a Job of `stage` is to be started."""
        for _ in range(500):
            found = self.step()
            if any(start.stage == stage for start in found.start):
                return found
            self.finish(world, found.start)
        raise AssertionError(f"no Job of {stage}")

    def all(self, world: World) -> list[Start]:
        """Go on to the end; all that was started."""
        started: list[Start] = []
        for _ in range(2000):
            found = self.step()
            if found.outcome:
                return started
            started += found.start
            self.finish(world, found.start)
        raise AssertionError("no end")


def scaling(jobs: Run, words: str = "Unschedulable: 0/3 nodes are available") -> None:
    """The newest Pod of each Job has no node."""
    pod = SeenPod(name="p", uid="p", waits=words, unscheduled=True)
    jobs.jobs = tuple(job.model_copy(update={"pods": (pod,)}) for job in jobs.jobs)

"""What a decision is made of, and what it is."""

from typing import Literal, Self

from pydantic import Field, SkipValidation

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Outcome, Walk
from darwinmerge.pipeline.plan import walk
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.job import Start
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.seen import SeenJob


class Policy(Frozen):
    """How a run is to be carried out; it may change while it goes on."""

    suspend: bool = False
    parallelism: int = 1
    candidates: int = 1  # that a Job scores, at most
    queued: bool = False  # Jobs stand in a queue of Kueue's
    execution: Literal["Fused", "Staged"] = "Fused"
    active_deadline: float | None = None  # seconds with a Pod running, over the whole run
    pending_deadline: float | None = None  # seconds for which a Job may wait for a Pod to run
    ttl: float | None = None  # seconds after the end for which Jobs stay
    image: str = ""  # the workers', where a person has set it

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """What `spec.cluster` says of it."""
        return cls(
            suspend=cluster.suspend,
            parallelism=cluster.parallelism,
            candidates=cluster.candidates_per_job,
            queued=bool(cluster.queue_name),
            execution=cluster.execution,
            active_deadline=cluster.active_deadline_seconds,
            pending_deadline=cluster.pending_deadline_seconds,
            ttl=cluster.ttl_seconds_after_finished,
            image=cluster.image,
        )


class Seen(Frozen):
    """A run as the cluster shows it."""

    experiment: Experiment
    policy: Policy
    generation: int  # of the resource
    retry_requested: str  # the value of its annotation
    ledger: Ledger
    jobs: tuple[SeenJob, ...]
    now: float  # seconds since 1970


class Halt(Frozen):
    """Why something doesn't go on, or not yet."""

    reason: str  # one of `status.StalledReason`
    message: str
    final: bool = False  # a person must act; else it goes on by itself once the cluster lets it


class Decision(Frozen):
    """What to do, in this order: write the ledger, delete, create, tell."""

    ledger: Ledger
    remove: tuple[str, ...] = ()  # Jobs by name
    start: tuple[Start, ...] = ()
    halts: tuple[Halt, ...] = ()
    pending: str = ""  # which Job waits for a node, and why; no halt yet
    outcome: Outcome | None = None
    again_in: float | None = None  # seconds after which time itself changes the decision
    walked: SkipValidation[Walk | None] = Field(default=None, repr=False)  # over the ledger's results, if it was needed

    def walk_of(self, experiment: Experiment) -> Walk:
        """The walk over the ledger's results."""
        return self.walked or walk(experiment, self.ledger.results)

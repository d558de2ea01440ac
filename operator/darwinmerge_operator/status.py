"""What a DarwinMerge's status says: conditions with closed lists of reasons, figures for programs, words for people.

Only a view of the ledger, so it may vanish at any time; bounded, so that it stays small whatever the run's length.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import Against, Label
from darwinmerge_operator.rules import KeyedBy

UNSEEN = -1  # observedGeneration of an object that no operator has looked at
RECENT = 10  # candidates
MESSAGE_LETTERS = 800  # of a condition
REJECTION_LETTERS = 120  # of a candidate

AcceptedReason = Literal[
    "Valid",  # taken on; the workers' image is settled
    "Invalid",  # false: the API server took it, and this version of the operator can't
]
MriReason = Literal[
    "Informative",  # the parents differ enough between tensors for the diagnosis to tell something
    "NotInformative",  # false: they don't; the run goes on, led by genes alone
]
SuspendedReason = Literal[
    "Suspended",  # spec.cluster.suspend
    "Queued",  # its Jobs wait for quota in spec.cluster.queueName
    "Resumed",  # false, after it was true
]
FailedReason = Literal[
    "NoCandidate",  # every candidate, or every finalist, was rejected
    "NonFiniteScores",  # a parent, the plain average or the child has no score: its log-likelihoods are no numbers
    "EvaluatorError",  # the benchmark's code failed on one of them, twice
    "TooManyRejected",  # more candidates were rejected than evolution.maxFailedCandidates
]
ServedReason = Literal[
    "Applied",  # the API server has Deployment and Service as spec.cluster.serve has them
    "Refused",  # false: it doesn't take them, in its own words; they are applied again by themselves
    "Withheld",  # false: with this verdict, spec.output.publishIf keeps the child in the store
]
ReadyReason = Literal[
    "Started",  # accepted, and its first Job exists
    "Starting",  # false: accepted
    "Invalid",  # false: not accepted
]
ReconcilingReason = Literal["Starting"]
StalledReason = Literal[  # a person must act, or time will tell; what is done is kept, and it can go on
    "BadConfiguration",  # not accepted; or as a worker found: another experiment's store, say
    "BadInput",  # a parent, a data set or a stored file is not what it must be
    "DeadlineExceeded",  # spec.cluster.activeDeadlineSeconds
    "EvaluatorFailed",  # the benchmark's code fails
    "Internal",  # a defect of ours
    "LedgerRefused",  # the API server doesn't take what is to be remembered; in its own words
    "JobRefused",  # the API server doesn't take a Job; in its own words
    "OutOfDisk",  # of scratch space
    "OutOfMemory",  # more than the memory limit
    "PendingDeadlineExceeded",  # spec.cluster.pendingDeadlineSeconds
    "PodPending",  # no image, no Secret, no node for ten minutes; in the API's own words
    "PodRefused",  # quota, Pod security, service account; in the API's own words
    "StoreUnreachable",  # S3 didn't answer
    "TooManyDisruptions",  # the cluster keeps on taking Pods away
    "TooManyInterruptions",  # something keeps on stopping workers
    "VersionSkew",  # operator and worker disagree on what a task is
]

ConditionType = Literal[
    "Accepted", "MRIInformative", "Suspended", "Complete", "Failed", "Served", "Ready", "Reconciling", "Stalled"
]
REASONS: Mapping[ConditionType, tuple[str, ...]] = {
    "Accepted": get_args(AcceptedReason),
    "MRIInformative": get_args(MriReason),
    "Suspended": get_args(SuspendedReason),
    "Complete": get_args(Label),  # whatever the verdict
    "Failed": get_args(FailedReason),  # final
    "Served": get_args(ServedReason),
    "Ready": get_args(ReadyReason),
    "Reconciling": get_args(ReconcilingReason),
    "Stalled": get_args(StalledReason),
}


def _cut(letters: int) -> BeforeValidator:
    return BeforeValidator(lambda text: text if len(text) <= letters else text[: letters - 1] + "…")


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Words = Annotated[str, Field(max_length=64)]


class Condition(Frozen):
    """One aspect of the run's state, as Kubernetes' own conditions are."""

    type: Annotated[ConditionType, Field(json_schema_extra={"maxLength": 316})]
    """Which aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", min_length=1, max_length=1024)]
    """Why, in one word of a closed list."""
    message: Annotated[str, _cut(MESSAGE_LETTERS), Field(max_length=32768)] = ""
    """Why, and what to do, in words."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The resource's generation that this is about."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.reason not in REASONS[self.type]:
            raise ValueError(f"{self.reason} is no reason of {self.type}; status.py lists them")
        return self


class Progress(Frozen):
    """How far the run is."""

    stage: Words
    """What is being done, in words."""
    step: int
    """The generation that is being evolved, from 1; 0 before the first."""
    steps: int
    """Generations in all."""
    candidates: int
    """Children scored or rejected."""
    candidates_total: int
    """Children in all."""
    rejected: int
    """Children that could not be scored by their own nature."""
    questions: int
    """Questions asked."""
    questions_total: int
    """Questions in all; 0 as long as the rows aren't known."""


class Shown(Frozen):
    """What `kubectl get` shows, made from the rest; words for people, not for programs."""

    gen: Words = ""
    """Generation, as 3/10."""
    evals: Words = ""
    """Candidates, as 12/40."""
    best: Words = ""
    """The best candidate's score on search rows."""
    vs_parents: Words = ""
    """The best candidate beside the better parent on search rows, as +0.031; after the verdict, the child beside Father
    and Mother on verdict rows, as +0.120*/+0.008: a star where the test tells them apart."""
    eta: Words = ""
    """When it may be done."""


class ParentScores(Frozen):
    """Scores on search rows, within 0..1."""

    father: float | None = None
    """Father's."""
    mother: float | None = None
    """Mother's."""
    linear: float | None = None
    """The plain average's."""


class Best(Frozen):
    """The best candidate so far, on search rows."""

    generation: int
    """Its generation, from 1."""
    index: int
    """Its place in the generation, from 0."""
    score: float
    """Its score, within 0..1. It was chosen for it, which flatters it; the verdict doesn't."""
    genome: Annotated[dict[str, float], Field(max_length=6)]
    """Its genes by name: ratio, attn, ffn, embed, density_a, density_b."""


class RecentCandidate(Frozen):
    """A candidate that was scored or rejected not long ago."""

    generation: int
    """Its generation, from 1."""
    index: int
    """Its place in the generation, from 0."""
    score: float | None = None
    """Its score on search rows; none where it was rejected."""
    rejected: Annotated[str, _cut(REJECTION_LETTERS), Field(max_length=1024)] = ""
    """Why it was rejected."""


class Versus(Frozen):
    """The child beside another model on verdict rows, which the search never saw."""

    difference: float
    """Child minus other: the weighted mean of paired differences."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p: float
    """Of the sign-flip permutation test, two-sided."""
    result: Against
    """What the test says at this level."""


class Verdict(Frozen):
    """Whether the child beats its parents."""

    label: Label
    """In one word."""
    questions: int
    """On how many questions."""
    alpha: float
    """Level of the test."""
    looks: int
    """How often these questions have been looked at, this time included."""
    vs_father: Versus
    """Beside Father."""
    vs_mother: Versus
    """Beside Mother."""
    vs_linear: Versus
    """Beside the plain average of both."""


class Child(Frozen):
    """The child, once it is exported."""

    uri: Annotated[str, Field(max_length=1200)]
    """Where its folder is."""
    hub: Annotated[str, Field(max_length=500)] = ""
    """Where it is on a model hub, at its commit: `hf://org/name@commit`. Empty: it isn't uploaded."""
    recipe: Words
    """Digest of the recipe that makes these weights from these parents."""
    weights: Words
    """Digest over the weight files."""


class Status(Frozen):
    """How the run is; written by the operator only."""

    observed_generation: int = UNSEEN
    """The resource's generation that this is about; -1: no operator has looked at it yet."""
    phase: Words = ""
    """The state in a word or two, for people; programs read the conditions."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=9), KeyedBy("type")] = ()
    """Accepted, MRIInformative, Suspended, Complete, Failed, Ready; Served where a child is to be served; Reconciling
    and Stalled only where true."""
    progress: Progress | None = None
    """How far the run is."""
    shown: Shown | None = None
    """What `kubectl get` shows."""
    parents: ParentScores | None = None
    """The parents' scores, as far as they are known."""
    best: Best | None = None
    """The best candidate so far."""
    recent: Annotated[tuple[RecentCandidate, ...], Field(max_length=RECENT)] = ()
    """The last candidates, newest first."""
    verdict: Verdict | None = None
    """Whether the child beats its parents."""
    child: Child | None = None
    """The child."""
    report: Annotated[str, Field(max_length=1200)] = ""
    """URI of report.html, once there is one; it is drawn anew after each generation and at the end."""
    summary: Annotated[str, Field(max_length=1200)] = ""
    """URI of summary.json, which has the whole outcome."""
    image: Annotated[str, Field(max_length=512)] = ""
    """The workers' image, settled when the experiment was accepted."""
    active_seconds: int = 0
    """Seconds for which Pods of this run have been running, all together counted once."""
    last_handled_retry_at: Annotated[str, Field(max_length=256)] = ""
    """The last value of the annotation darwinmerge.io/retry-requested-at that was answered."""

"""What tasks leave: summaries, so small that a driver plans from them alone, and results, which may be no success."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Account, Pins
from darwinmerge.search.genome import Genome
from darwinmerge.store.base import Ref

TaskId = str


class Candidate(Frozen):
    """A child's place in the evolution."""

    generation: int  # from 1
    index: int  # within the generation
    of: int  # size of the generation
    genome: Genome


class ResolveSummary(Frozen):
    """The parents and the base, pinned."""

    stage: Literal["resolve"] = "resolve"
    pins: Pins
    warnings: tuple[str, ...] = ()  # of what differs between the parents and doesn't matter much
    father_bytes: int
    mother_bytes: int
    base_bytes: int = 0
    commits: dict[str, str] = Field(default_factory=dict)  # of models on a hub: what this run reads


class RowCounts(Frozen):
    """Rows of one task in each set; of a group, those of all its tasks."""

    task: str
    search: int
    fresh: int
    verdict: int


class RowsSummary(Frozen):
    """The row sets."""

    stage: Literal["rows"] = "rows"
    rows: str  # digest
    counts: tuple[RowCounts, ...]


class MriSummary(Frozen):
    """The diagnosis in short."""

    stage: Literal["mri"] = "mri"
    table: str  # digest
    tensors: int
    differing: int  # in both parents, and not the same
    identical: int
    one_sided: int
    not_weights: int
    degenerate: int
    spread: float  # size-weighted standard deviation of the prescriptions over differing tensors
    informative: bool


class SearchSummary(Frozen):
    """Phase 1 in short."""

    stage: Literal["search"] = "search"
    history: str  # digest
    fitness: float  # the best heuristic fitness; not comparable with any benchmark score
    restarts: int
    active: tuple[Gene, ...]  # genes that have an effect; the others are fixed, not searched
    elites: tuple[tuple[float, ...], ...]  # genes in order


class ScoreSummary(Frozen):
    """One model's benchmark score."""

    stage: Literal["score"] = "score"
    score: float  # weighted mean over tasks, higher is better, within 0..1
    n: int  # questions
    recipe: str  # what was scored
    answers: str  # digest of the metric on every question
    env: str  # digest of what else moves a score: device, software, threads
    candidate: Candidate | None = None


class ReportSummary(Frozen):
    """The report is drawn; it stands at one place and holds times, so that no two are alike."""

    stage: Literal["report"] = "report"
    problem: str = ""  # why there is none; a run doesn't stop for its report


class ExportSummary(Frozen):
    """The winner's folder."""

    stage: Literal["export"] = "export"
    recipe: str
    weights: str  # digest over the weight files
    files: int
    bytes: int
    accounts: dict[Account, int]


class HealthSummary(Frozen):
    """The health check in short."""

    stage: Literal["health"] = "health"
    table: str  # digest
    status: Literal["Pass", "Flagged", "Fail"]
    layers: int
    flagged: tuple[str, ...]  # at most 16 layers, worst first, as `12: Interference`


Against = Literal["Better", "NotDifferent", "Worse"]
Label = Literal["ChildBeatsBoth", "BeatsFather", "BeatsMother", "NoSignificantDifference", "Worse"]


class Comparison(Frozen):
    """The child beside one other model on the verdict rows."""

    difference: float  # child minus other: weighted mean of paired differences
    low: float  # interval of the difference
    high: float
    p: float  # sign-flip permutation test, two-sided
    result: Against


class VerdictSummary(Frozen):
    """The verdict."""

    stage: Literal["verdict"] = "verdict"
    label: Label
    n: int  # questions
    alpha: float  # level of the test: alpha / 2 ** (looks - 1)
    looks: int  # how often these rows have been looked at, this time included
    answers: str  # digest of the child's answers
    vs_father: Comparison
    vs_mother: Comparison
    vs_linear: Comparison


class PublishSummary(Frozen):
    """The child, published."""

    stage: Literal["publish"] = "publish"
    recipe: str  # of the child that stands there
    files: int
    hub: str = ""  # hf://org/name@commit; empty: it isn't uploaded
    withheld: bool = False  # it stays in the store, though the manifest names a place: `publishIf` asks for more


Summary = Annotated[
    ResolveSummary
    | RowsSummary
    | MriSummary
    | SearchSummary
    | ScoreSummary
    | ReportSummary
    | ExportSummary
    | HealthSummary
    | VerdictSummary
    | PublishSummary,
    Field(discriminator="stage"),
]


class Done(Frozen):
    """A task's result."""

    kind: Literal["done"] = "done"
    task: TaskId
    summary: Summary
    artefacts: tuple[Ref, ...] = ()


class Rejected(Frozen):
    """A task that its inputs doom: stored like a result, so that it is not tried again."""

    kind: Literal["rejected"] = "rejected"
    task: TaskId
    reason: Literal["NonFiniteScores", "EvaluatorError"]
    message: str
    candidate: Candidate | None = None


class Superseded(Frozen):
    """A candidate of a generation that was recorded with other genomes: the driver adopts those."""

    kind: Literal["superseded"] = "superseded"
    task: TaskId
    generation: int
    genomes: tuple[tuple[float, ...], ...]  # genes in order: 48 genomes must fit into a termination message


Result = Annotated[Done | Rejected | Superseded, Field(discriminator="kind")]
RESULT: TypeAdapter[Done | Rejected | Superseded] = TypeAdapter(Result)

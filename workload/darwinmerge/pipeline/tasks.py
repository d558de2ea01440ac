"""Tasks and their results: all that passes between a driver, its workers and the store.

A task's id is the SHA-256 of what determines its result: stage, revision, seed, digests of what it reads and the
settings that it uses, defaults left out. Never a URI, a path, a resource, a version of ours, parallelism or the
number of steps: so a laptop and a cluster, a short run and an extended one, share results. Summaries are
small, because a driver plans from them alone; all else is in the store, by digest.
"""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from darwinmerge.canonical import digest
from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.manifest import BenchmarkTask, Health, Mri, Search, Spec
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Account, Mixing, Pins
from darwinmerge.search.genome import Genome
from darwinmerge.store.base import Ref

TaskId = str
Stage = Literal["resolve", "rows", "mri", "search", "score", "report", "export", "health", "verdict", "publish"]
RowSet = Literal["search", "fresh", "verdict"]

REVISIONS: dict[Stage, int] = {  # raised when a stage would give other results for the same inputs
    "resolve": 1,
    "rows": 2,
    "mri": 1,
    "search": 1,
    "score": 2,
    "report": 1,
    "export": 1,
    "health": 2,
    "verdict": 3,
    "publish": 2,
}


class Terms(Frozen):
    """The terms under which every model is benchmarked."""

    tasks: tuple[BenchmarkTask, ...]
    dtype: str
    batch_size: int
    chunk: int
    threads: int
    allow_code: tuple[str, ...] = ()
    model: str = "hf"
    model_args: str = ""
    chat_template: bool = False
    template_args: str = ""
    system_instruction: str = ""
    fewshot_as_multiturn: bool = True
    samples: Literal["Finals", "Candidates"] = "Finals"


class Candidate(Frozen):
    """A child's place in the evolution."""

    generation: int  # from 1
    index: int  # within the generation
    of: int  # size of the generation
    genome: Genome


class FatherModel(Frozen):
    """Father himself."""

    model: Literal["father"] = "father"


class MotherModel(Frozen):
    """Mother herself."""

    model: Literal["mother"] = "mother"


class LinearModel(Frozen):
    """The plain average of the parents."""

    model: Literal["linear"] = "linear"
    share: float = 0.5  # of Mother


class ChildModel(Frozen):
    """A child, by its genome."""

    model: Literal["child"] = "child"
    genome: Genome


Model = Annotated[FatherModel | MotherModel | LinearModel | ChildModel, Field(discriminator="model")]


class ResolveInputs(Frozen):
    """Pin both parents."""

    stage: Literal["resolve"] = "resolve"


class RowsInputs(Frozen):
    """Divide the benchmark's rows among search, finalists and verdict."""

    stage: Literal["rows"] = "rows"
    tasks: tuple[BenchmarkTask, ...]
    allow_code: tuple[str, ...] = ()


class MriInputs(Frozen):
    """Diagnose every tensor of both parents."""

    stage: Literal["mri"] = "mri"
    pins: Pins
    mri: Mri  # its weight left at the default: it changes no diagnosis


class SearchInputs(Frozen):
    """Phase 1."""

    stage: Literal["search"] = "search"
    table: str  # digest of the MRI table
    mixing: Mixing
    search: Search


class ScoreInputs(Frozen):
    """Benchmark one model on row sets: merge it into a resident model, ask, store chunk by chunk."""

    stage: Literal["score"] = "score"
    pins: Pins
    table: str
    rows: str  # digest of the row sets
    sets: tuple[RowSet, ...]
    mixing: Mixing
    terms: Terms
    model: Model
    generation: int = 0  # 0: not of a generation; else its genomes are recorded before anything is computed
    index: int = 0
    genomes: tuple[Genome, ...] = ()


class ReportInputs(Frozen):
    """Draw the report of a run as far as it is."""

    stage: Literal["report"] = "report"
    generation: int  # the last that is finished
    answers: tuple[str, ...]  # digests of its candidates' answers; of a rejected one, nothing


class ExportInputs(Frozen):
    """Write the winner as a Hugging Face folder."""

    stage: Literal["export"] = "export"
    pins: Pins
    table: str
    mixing: Mixing
    genome: Genome
    max_shard_size: str
    mri: Mri = Mri()  # for the record: with these the table can be made again


class HealthInputs(Frozen):
    """Phase 3."""

    stage: Literal["health"] = "health"
    pins: Pins
    table: str
    recipe: str  # the child's
    weights: str  # digest of the child's weights
    mri: Mri
    health: Health


class VerdictInputs(Frozen):
    """Compare the child with its parents and the plain average on rows that the search never saw."""

    stage: Literal["verdict"] = "verdict"
    child: str  # digests of answers
    father: str
    mother: str
    linear: str
    alpha: float  # of the first look; each further one at the same rows halves it


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


class PublishInputs(Frozen):
    """Write the model card, and copy the child to where the manifest wants it."""

    stage: Literal["publish"] = "publish"
    title: str
    recipe: str
    weights: str
    verdict: VerdictSummary  # this and what follows: for the card
    health: HealthSummary
    rows: str  # digest of the row sets
    scores: dict[str, str]  # digests of answers on verdict rows: child, father, mother, linear
    terms: Terms
    candidates: int  # children that the search tried
    finalists: int  # of them, asked fresh rows too; 0: the best on search rows was chosen at once
    tied: int = 0  # others with the winner's own score, on all rows that it was chosen on
    destination: str  # digest of the URI, if any: publishing is the one stage that is about a place
    hub: str = ""  # hf://org/name@revision, if any
    withheld: bool = False  # the verdict is not one with which the child leaves the store


Inputs = Annotated[
    ResolveInputs
    | RowsInputs
    | MriInputs
    | SearchInputs
    | ScoreInputs
    | ReportInputs
    | ExportInputs
    | HealthInputs
    | VerdictInputs
    | PublishInputs,
    Field(discriminator="stage"),
]


class Task(Frozen):
    """One piece of work."""

    revision: int
    seed: int
    inputs: Inputs

    @property
    def stage(self) -> Stage:
        """The stage that does it."""
        return self.inputs.stage

    @cached_property
    def id(self) -> TaskId:
        """SHA-256 of all that determines the result, in hex."""
        return digest(self)


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


def candidate_of(inputs: Inputs) -> Candidate | None:
    """The place in the evolution of the child that a task scores, if it scores one of a generation."""
    if not isinstance(inputs, ScoreInputs) or not inputs.generation or not isinstance(inputs.model, ChildModel):
        return None
    genome, of = inputs.model.genome, len(inputs.genomes)
    return Candidate(generation=inputs.generation, index=inputs.index, of=of, genome=genome)


def mixing_of(spec: Spec) -> Mixing:
    """The part of a spec that turns genomes into recipes."""
    return Mixing(mri_weight=spec.mri.weight, merge=spec.merge, base=spec.parents.base is not None)


def withheld(spec: Spec, label: Label) -> bool:
    """Whether a child with this verdict stays in the store, whatever places the manifest names."""
    wanted = spec.output.publish_if
    return label != "ChildBeatsBoth" and (wanted == "BeatsBoth" or (wanted == "NotWorse" and label == "Worse"))


def terms_of(spec: Spec) -> Terms:
    """The part of a spec under which models are benchmarked."""
    return Terms(**{name: getattr(spec.evaluation, name) for name in Terms.model_fields})

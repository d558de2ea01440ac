"""Tasks: what a driver asks of its workers; what they leave is in `darwinmerge.pipeline.results`.

A task's id is the SHA-256 of what determines its result: stage, revision, seed, digests of what it reads and the
settings that it uses, defaults left out. Never a URI, a path, a resource, a version of ours, parallelism or the
number of steps: so a laptop and a cluster, a short run and an extended one, share results.
"""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from darwinmerge.canonical import digest
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.experiment.manifest import Health, Mri, Spec
from darwinmerge.experiment.searching import Search
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Mixing, Pins
from darwinmerge.pipeline.results import Candidate, HealthSummary, Label, TaskId, VerdictSummary
from darwinmerge.search.genome import Genome

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

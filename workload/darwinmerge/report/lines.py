"""One line a result, for terminals and logs."""

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.results import (
    ExportSummary,
    HealthSummary,
    MriSummary,
    PublishSummary,
    Rejected,
    ReportSummary,
    ResolveSummary,
    Result,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
    Superseded,
    VerdictSummary,
)
from darwinmerge.pipeline.tasks import ScoreInputs, Task
from darwinmerge.search.genome import GENES

WORDS = {
    "ChildBeatsBoth": "the child is better than both parents",
    "BeatsFather": "the child is better than Father, and can't be told from Mother",
    "BeatsMother": "the child is better than Mother, and can't be told from Father",
    "NoSignificantDifference": "the child can't be told from its parents",
    "Worse": "the child is worse than one of its parents",
}


def sentence(verdict: VerdictSummary) -> str:
    """The verdict in words, the plain average not forgotten."""
    plain = {"Better": "is better than", "NotDifferent": "can't be told from", "Worse": "is worse than"}
    return f"{WORDS[verdict.label]}; it {plain[verdict.vs_linear.result]} the plain average"


def ties(tied: int, finalists: int) -> str:
    """What is to be said after "the best score" where `tied` others have the same."""
    if not tied:
        return ""
    taken = "one ahead on search rows" if finalists else "earliest"
    return f" (tied with {tied} other{'s' * (tied > 1)}; the {taken} was taken)"


def title(task: Task, experiment: Experiment) -> str:
    """What a task does, in a few words."""
    inputs = task.inputs
    if not isinstance(inputs, ScoreInputs):
        return {
            "resolve": "pinning parents",
            "rows": "dividing rows",
            "mri": "model MRI",
            "search": "Phase 1",
            "report": "report",
            "export": "writing the child",
            "health": "health check",
            "verdict": "verdict",
            "publish": "publishing",
        }[task.stage]
    if inputs.generation:
        steps, of = experiment.spec.evolution.steps, len(inputs.genomes)
        return f"generation {inputs.generation}/{steps}, candidate {inputs.index + 1}/{of}"
    rows = {("search",): "search rows", ("search", "fresh"): "search and fresh rows", ("verdict",): "verdict rows"}
    model = {"linear": "plain average", "child": "child"}.get(inputs.model.model, inputs.model.model)
    if inputs.sets == ("search", "fresh"):
        model = "finalist"
    return f"{model} on {rows.get(inputs.sets, '+'.join(inputs.sets))}"


def line(task: Task, result: Result, experiment: Experiment) -> str:
    """What a result says, in one line."""
    what = title(task, experiment)
    if isinstance(result, Rejected):
        return f"{what}: rejected, {result.reason}: {result.message}"
    if isinstance(result, Superseded):
        return f"{what}: generation {result.generation} was recorded with other genomes, which stand"
    match result.summary:
        case ResolveSummary() as s:
            warnings = "".join(f"\n       warning: {warning}" for warning in s.warnings)
            base = f", base {megabytes(s.base_bytes)}" if s.pins.base else ""
            father, mother = megabytes(s.father_bytes), megabytes(s.mother_bytes)
            return f"parents pinned: father {father}, mother {mother}{base}{warnings}"
        case RowsSummary() as s:
            each = "; ".join(f"{c.task} {c.search} + {c.fresh} fresh, {c.verdict} for the verdict" for c in s.counts)
            return f"rows: {each}"
        case MriSummary() as s:
            informative = "informative" if s.informative else "not informative: the prescriptions hardly differ"
            flags = f", {s.degenerate} degenerate" if s.degenerate else ""
            return f"{what}: {s.tensors} tensors, {s.differing} differ{flags}; spread {s.spread:.2g}, {informative}"
        case SearchSummary() as s:
            inert = ", ".join(gene for gene in GENES if gene not in s.active)
            fixed = f"; without effect, so fixed: {inert}" if inert else ""
            return f"{what}: {len(s.elites)} elites, {s.restarts} restarts{fixed}"
        case ScoreSummary() as s:
            return f"{what}: {s.score:.3f} on {s.n} questions"
        case ReportSummary() as s:
            return f"{what}: {s.problem or 'drawn anew'}"
        case ExportSummary() as s:
            return f"{what}: {s.files} file{'s' * (s.files > 1)}, {megabytes(s.bytes)}"
        case HealthSummary() as s:
            return f"{what}: {s.status}, {s.layers} layers" + (f"; {', '.join(s.flagged)}" if s.flagged else "")
        case VerdictSummary() as s:
            return f"{what}: {s.label}: {sentence(s)}"
        case PublishSummary() as s:
            if s.withheld:
                return f"{what}: the child stays in the store, {stays(experiment)}"
            return f"published: {s.files} files" + (f", uploaded as {s.hub}" if s.hub else "")


def stays(experiment: Experiment) -> str:
    """Why a child was withheld."""
    return f"since spec.output.publishIf is {experiment.spec.output.publish_if}"


def megabytes(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:,.0f} MB"

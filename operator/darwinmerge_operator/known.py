"""What a run's results alone say of it, as its status has it; pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import Walk, ranked
from darwinmerge.pipeline.progress import progress_of
from darwinmerge.pipeline.results import (
    Done,
    ExportSummary,
    Rejected,
    ReportSummary,
    Result,
    ScoreSummary,
    TaskId,
    VerdictSummary,
)
from darwinmerge.report.lines import sentence, stays
from darwinmerge.report.state import child_place
from darwinmerge.search.genome import GENES
from darwinmerge.store import layout
from darwinmerge_operator.status import (
    RECENT,
    Best,
    Child,
    ConditionType,
    ParentScores,
    Progress,
    RecentCandidate,
    Shown,
    Status,
    Verdict,
)

What = tuple[Literal["True", "False", "Unknown"], str, str]
"""Status, reason and message of a condition."""
Said = dict[ConditionType, What]
TOLD: tuple[ConditionType, ...] = ("MRIInformative", "Complete", "Failed")  # by results


def known(x: Experiment, results: Mapping[TaskId, Result], seen: Walk, finished: bool) -> tuple[Status, Progress, Said]:
    """The part of a status that results tell, how far they lead, and the conditions that follow.

    Args:
        x: the experiment.
        results: what is known of it, in order of arrival.
        seen: the walk over them.
        finished: whether the summary of how it ended is in the store.
    """
    far = progress_of(x, seen)
    outcome = seen.outcome if finished else None
    progress = Progress(**{name: getattr(far, name) for name in Progress.model_fields})
    parents = ParentScores(**far.parents) if far.parents else None
    best, verdict = _best(ranked(seen.generations)), seen.verdict and _verdict(seen.verdict)
    shown = Shown(gen=f"{far.step}/{far.steps}", evals=f"{far.candidates}/{far.candidates_total}")
    if best:
        beside = _beside(verdict) if verdict else beside_parents(best.score, parents)
        shown = shown.model_copy(update={"best": f"{best.score:.3f}", "vs_parents": beside})
    store = x.where.store.rstrip("/")
    drawn = any(
        isinstance(r, Done) and isinstance(r.summary, ReportSummary) and not r.summary.problem for r in results.values()
    )
    status = Status(
        progress=progress,
        shown=shown,
        parents=parents,
        best=best,
        recent=_recent(results),
        verdict=verdict,
        child=_child(x, seen, seen.export) if seen.export else None,
        report=f"{store}/{layout.REPORT}" if drawn else "",
        summary=f"{store}/{layout.SUMMARY}" if outcome else "",
    )
    said: Said = {}
    if seen.mri:
        spread = f"the prescriptions' spread over tensors is {seen.mri.spread:.2g}"
        said["MRIInformative"] = (
            ("True", "Informative", spread)
            if seen.mri.informative
            else ("False", "NotInformative", f"{spread}: they hardly differ; the run goes on, led by genes alone")
        )
    if outcome:
        message = sentence(seen.verdict) + _unpublished(x, seen) if seen.verdict else outcome.message
        said[outcome.kind] = ("True", outcome.reason, message)
    return status, progress, said


def beside_parents(score: float, parents: ParentScores | None) -> str:
    """A score on search rows beside the better parent's, as `+0.031`; nothing as long as one of theirs isn't known."""
    if not parents or parents.father is None or parents.mother is None:
        return ""
    return f"{score - max(parents.father, parents.mother):+z.3f}"


def _best(ranking: Sequence[ScoreSummary]) -> Best | None:
    candidate = ranking[0].candidate if ranking else None
    if not candidate:
        return None
    genome = dict(zip(GENES, candidate.genome.values(), strict=True))
    return Best(generation=candidate.generation, index=candidate.index, score=ranking[0].score, genome=genome)


def _recent(results: Mapping[str, Result]) -> tuple[RecentCandidate, ...]:
    """The last candidates, as they came home."""
    home = (result.summary if isinstance(result, Done) else result for result in reversed(list(results.values())))
    children = [one for one in home if isinstance(one, ScoreSummary | Rejected) and one.candidate][:RECENT]
    return tuple(
        RecentCandidate(
            generation=child.candidate.generation,
            index=child.candidate.index,
            score=child.score if isinstance(child, ScoreSummary) else None,
            rejected=f"{child.reason}: {child.message}" if isinstance(child, Rejected) else "",
        )
        for child in children
        if child.candidate
    )


def _child(x: Experiment, seen: Walk, export: ExportSummary) -> Child:
    place = child_place(x, seen, x.where.store.rstrip("/")).rstrip("/")
    hub = seen.published.hub if seen.published else ""
    return Child(uri=place, hub=hub, recipe=export.recipe, weights=export.weights)


def _unpublished(x: Experiment, seen: Walk) -> str:
    """Why a child that was to leave the store hasn't, to be added to what the verdict says; else nothing."""
    if seen.published and seen.published.withheld:
        return f"; it stays in the store, {stays(x)}"
    failed = seen.health is not None and seen.health.status == "Fail"
    if failed and (x.where.output or x.where.hub):
        return "; it stays in the store, since its health check failed"
    return ""


def _verdict(found: VerdictSummary) -> Verdict:
    return Verdict(questions=found.n, **found.model_dump(include=set(Verdict.model_fields)))


def _beside(verdict: Verdict) -> str:
    """The child beside Father and Mother on verdict rows, marked where the test tells them apart."""
    marks = {"Better": "*", "NotDifferent": "", "Worse": "*"}
    return "/".join(f"{v.difference:+z.3f}{marks[v.result]}" for v in (verdict.vs_father, verdict.vs_mother))

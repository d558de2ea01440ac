"""How far an experiment is: what terminal, status, metrics and report all show, from the results alone."""

from darwinmerge.experiment.experiment import Experiment, questions_of
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Results, Walk, ranked
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.results import Label, Rejected, RowCounts, ScoreSummary
from darwinmerge.pipeline.tasks import ScoreInputs


class Progress(Frozen):
    """How far an experiment is."""

    stage: str  # what is being done now, in words
    step: int  # generation, from 1; 0 before the first
    steps: int
    candidates: int  # scored or rejected
    candidates_total: int
    rejected: int
    questions: int  # asked, or known already
    questions_total: int  # 0 as long as the rows aren't known
    best: float | None  # best candidate's score on search rows
    parents: dict[str, float]  # father, mother, linear on search rows
    informative: bool | None
    spread: float | None
    verdict: Label | None


def summarise(experiment: Experiment, results: Results) -> Progress:
    """How far the results lead; a pure function."""
    return progress_of(experiment, walk(experiment, results))


def progress_of(experiment: Experiment, seen: Walk) -> Progress:
    """As `summarise`, of results that have been walked over."""
    evolution = experiment.spec.evolution
    scored = [result for g in seen.generations for result in g.results if result is not None]
    best = ranked(seen.generations)
    done, total = _questions(experiment, seen)
    return Progress(
        stage=_stage(seen),
        step=len(seen.generations),
        steps=evolution.steps,
        candidates=len(scored),
        candidates_total=evolution.steps * evolution.candidates,
        rejected=sum(isinstance(result, Rejected) for result in scored),
        questions=done,
        questions_total=total,
        best=best[0].score if best else None,
        parents={name: summary.score for name, summary in seen.parents.items()},
        informative=seen.mri.informative if seen.mri else None,
        spread=seen.mri.spread if seen.mri else None,
        verdict=seen.verdict.label if seen.verdict else None,
    )


def _stage(seen: Walk) -> str:
    if seen.outcome:
        return "finished"
    stages = {task.stage for task in seen.ready}
    if stages & {"resolve", "rows"}:
        return "resolving parents and rows"
    if "mri" in stages:
        return "model MRI"
    if stages == {"report"}:
        return "report"
    if seen.winner is None:
        asked = [task.inputs for task in seen.ready if isinstance(task.inputs, ScoreInputs)]
        if any(inputs.generation for inputs in asked):
            return f"generation {len(seen.generations)}"
        return "finalists" if any("fresh" in inputs.sets for inputs in asked) else "parents and Phase 1"
    if seen.verdict is None:
        return "verdict"
    return "publishing" if seen.health else "health check"


def _questions(experiment: Experiment, seen: Walk) -> tuple[int, int]:
    """Questions answered and questions in all; a recipe that comes twice is counted twice."""
    if not seen.rows:
        return 0, 0
    search, fresh, verdict = (_sum(seen.rows.counts, name) for name in ("search", "fresh", "verdict"))
    evaluation, evolution = experiment.spec.evaluation, experiment.spec.evolution
    ended = sum(len(generation.tasks) for generation in seen.generations)
    children = ended if seen.winner else evolution.steps * evolution.candidates
    total = questions_of(children, evaluation.finalists, search, fresh, verdict)
    scored = sum(isinstance(result, ScoreSummary | Rejected) for g in seen.generations for result in g.results)
    done = search * (scored + len(seen.parents)) + fresh * len(seen.finalists) + verdict * len(seen.verdicts)
    return done, total


def _sum(counts: tuple[RowCounts, ...], name: str) -> int:
    return sum(getattr(count, name) for count in counts)

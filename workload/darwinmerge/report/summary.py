"""`summary.json`: an experiment's outcome, for programs and people; made anew from the store after every run."""

from collections.abc import Sequence

import numpy as np

from darwinmerge.evaluation.answers import Answers, read_answers
from darwinmerge.evaluation.statistics import bootstrap_interval, mcnemar
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.recipe import Account
from darwinmerge.pipeline.known import Outcome, Walk
from darwinmerge.pipeline.progress import progress_of
from darwinmerge.pipeline.results import Candidate, HealthSummary, MriSummary, Rejected, ScoreSummary, VerdictSummary
from darwinmerge.pipeline.worker import Cost
from darwinmerge.publish.record import Record
from darwinmerge.report.state import child_place
from darwinmerge.search.genome import GENES
from darwinmerge.store import Store, fetch_model, layout

MODELS = ("father", "mother", "linear", "child")


class TaskScore(Frozen):
    """One model on one task's rows."""

    task: str
    metric: str
    n: int
    """Questions."""
    value: float
    """Mean of the metric, as lm-eval has it."""
    low: float
    """Interval of the mean: 95 % bootstrap over questions."""
    high: float


class ModelScores(Frozen):
    """One model's scores: a parent, the plain average (linear), or the child."""

    model: str
    search_score: float | None
    """Weighted mean on search rows. The child was chosen on these: it flatters it."""
    search_interval: tuple[float, float] | None
    """Interval of `search_score`: 95 % bootstrap over questions, within each task."""
    verdict_score: float | None
    """Weighted mean on verdict rows, which the search never saw."""
    verdict_interval: tuple[float, float] | None
    """Interval of `verdict_score`, likewise."""
    search: tuple[TaskScore, ...]
    verdict: tuple[TaskScore, ...]


class Pairs(Frozen):
    """McNemar's exact test: the child beside another model, question by question, on one task's verdict rows."""

    task: str
    against: str
    wins: int
    """Questions that only the child gets right (or better)."""
    losses: int
    """Questions that only the other gets right (or better)."""
    p: float


class StageCost(Frozen):
    """What a stage took, over all its tasks and all runs of this experiment."""

    stage: str
    tasks: int
    seconds: float
    peak_bytes: int
    """The greatest resident memory of a worker during a task of this stage, the model that it keeps included."""


class ChildFolder(Frozen):
    """Where the child is."""

    path: str
    hub: str = ""
    """Where it is on a model hub, at its commit; empty: it isn't uploaded."""
    withheld: bool = False
    """It stays in the store, though the manifest names a place: its verdict is none with which it is published."""
    files: dict[str, str]
    """SHA-256 of each weight file, as `sha256sum` gives it."""
    sha256: str
    """SHA-256 of the weight file; of several, the digest over theirs."""
    recipe: str
    """Digest of the recipe that makes these weights from these parents."""
    accounts: dict[Account, int]
    """Tensors by what became of them; they add up to all tensors of both parents."""
    version: str
    """Of Darwin, which wrote it."""


class RunSummary(Frozen):
    """The outcome of an experiment."""

    name: str
    store: str
    outcome: Outcome
    verdict: VerdictSummary | None
    """The child against each parent and the plain average, on rows that the search never saw."""
    models: tuple[ModelScores, ...]
    pairs: tuple[Pairs, ...]
    mri: MriSummary | None
    """The diagnosis; `spread` says how much the prescriptions differ between tensors."""
    winner: Candidate | None
    inert_genes: tuple[str, ...]
    """Genes without an effect on this pair: fixed, not searched."""
    candidates: int
    """Children scored."""
    rejected: int
    """Children that could not be scored by their own nature."""
    questions: int
    """Questions of all scores; those of a recipe that came twice were asked once."""
    health: HealthSummary | None
    child: ChildFolder | None
    environment: dict[str, str]
    """What moves scores besides the weights; one verdict never mixes two of them."""
    stages: tuple[StageCost, ...]


def build(experiment: Experiment, seen: Walk, store: Store, costs: Sequence[Cost]) -> RunSummary:
    """The summary of an experiment as far as it is, from its results and costs and what they refer to in its store."""
    winner = seen.winner
    on_search = dict(seen.parents) | ({"child": winner} if winner else {})
    answers = {
        (name, rows): read_answers(store, summary.answers)
        for rows, scores in (("search", on_search), ("verdict", seen.verdicts))
        for name, summary in scores.items()
    }
    models = tuple(
        ModelScores(
            model=name,
            search_score=on_search[name].score if name in on_search else None,
            search_interval=_interval(answers.get((name, "search"))),
            verdict_score=seen.verdicts[name].score if name in seen.verdicts else None,
            verdict_interval=_interval(answers.get((name, "verdict"))),
            search=_scores(answers.get((name, "search"))),
            verdict=_scores(answers.get((name, "verdict"))),
        )
        for name in MODELS
    )
    scored = [result for g in seen.generations for result in g.results]
    return RunSummary(
        name=experiment.name,
        store=store.uri,
        outcome=seen.outcome or Outcome(kind="Failed", reason="Unfinished", message="the run has not ended"),
        verdict=seen.verdict,
        models=models,
        pairs=_pairs(answers),
        mri=seen.mri,
        winner=winner.candidate if winner else None,
        inert_genes=tuple(g for g in GENES if g not in seen.search.active) if seen.search else (),
        candidates=sum(isinstance(result, ScoreSummary) for result in scored),
        rejected=sum(isinstance(result, Rejected) for result in scored),
        questions=progress_of(experiment, seen).questions,
        health=seen.health,
        child=_child(experiment, seen, store),
        environment=next(iter(answers.values())).env if answers else {},
        stages=_stages(costs),
    )


def _interval(answers: Answers | None) -> tuple[float, float] | None:
    return bootstrap_interval(answers.oriented(), answers.weights, 0.05, 0) if answers else None


def _scores(answers: Answers | None) -> tuple[TaskScore, ...]:
    found = []
    for task in answers.tasks if answers else ():
        values = np.array(task.values)
        low, high = bootstrap_interval([values], [1.0], 0.05, 0)
        n, mean = len(values), float(values.mean())
        found.append(TaskScore(task=task.task, metric=task.metric, n=n, value=round(mean, 6), low=low, high=high))
    return tuple(found)


def _pairs(answers: dict[tuple[str, str], Answers]) -> tuple[Pairs, ...]:
    child = answers.get(("child", "verdict"))
    found = []
    for against in MODELS[:3]:
        other = answers.get((against, "verdict"))
        if child is None or other is None:
            continue
        both = zip(child.tasks, child.oriented(), other.oriented(), strict=True)
        for task, mine, theirs in both:
            wins, losses, p = mcnemar(mine, theirs)
            found.append(Pairs(task=task.task, against=against, wins=wins, losses=losses, p=p))
    return tuple(found)


def _child(experiment: Experiment, seen: Walk, store: Store) -> ChildFolder | None:
    if not seen.export:
        return None
    record = fetch_model(store, layout.child(seen.export.recipe) + layout.CHILD_RECORD, Record)
    files = record.files
    return ChildFolder(
        path=child_place(experiment, seen, store.uri),
        hub=seen.published.hub if seen.published else "",
        withheld=bool(seen.published and seen.published.withheld),
        files=files,
        sha256=next(iter(files.values())) if len(files) == 1 else seen.export.weights,
        recipe=seen.export.recipe,
        accounts=seen.export.accounts,
        version=record.version,
    )


def _stages(costs: Sequence[Cost]) -> tuple[StageCost, ...]:
    stages: dict[str, list[Cost]] = {}
    for cost in costs:
        stages.setdefault(cost.stage, []).append(cost)
    return tuple(_stage_cost(stage, found) for stage, found in stages.items())


def _stage_cost(stage: str, costs: Sequence[Cost]) -> StageCost:
    return StageCost(
        stage=stage,
        tasks=len(costs),
        seconds=round(sum(cost.seconds for cost in costs), 3),
        peak_bytes=max(cost.peak_bytes for cost in costs),
    )

"""A world in which every task is answered by arithmetic, so that whole runs take milliseconds.

Answers are a pure function of the task, as real ones are: scores come from a smooth landscape over the genome and
a jitter by hash; genomes are rounded to recipes so coarsely that two genomes may be one recipe; some recipes are
rejected, always with the same reason; some generations were recorded by somebody else before.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from hypothesis import strategies as st

from darwinmerge.experiment.experiment import Bindings, Experiment, Limits
from darwinmerge.experiment.kinds import Gene
from darwinmerge.experiment.manifest import Spec
from darwinmerge.experiment.searching import MAX_CANDIDATES
from darwinmerge.merge.recipe import Pins
from darwinmerge.pipeline.known import Outcome, Walk
from darwinmerge.pipeline.plan import Plan, plan, walk
from darwinmerge.pipeline.results import (
    Comparison,
    Done,
    ExportSummary,
    HealthSummary,
    Label,
    MriSummary,
    PublishSummary,
    Rejected,
    ReportSummary,
    ResolveSummary,
    Result,
    RowCounts,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
    Summary,
    Superseded,
    TaskId,
    VerdictSummary,
)
from darwinmerge.pipeline.tasks import (
    ChildModel,
    ExportInputs,
    HealthInputs,
    MriInputs,
    PublishInputs,
    ReportInputs,
    ResolveInputs,
    RowsInputs,
    ScoreInputs,
    SearchInputs,
    Task,
    VerdictInputs,
    candidate_of,
)
from darwinmerge.search.genome import GENES, INERT, Genome
from darwinmerge.store.base import Ref

LABELS: tuple[Label, ...] = ("ChildBeatsBoth", "BeatsFather", "BeatsMother", "NoSignificantDifference", "Worse")
MANY = 500  # plans, far more than any run here needs
DOOM = "the model answers with log-likelihoods that are NaN or infinite"

Part = Literal[
    "resolve",
    "rows",
    "mri",
    "search",
    "reference",
    "candidate",
    "report",
    "finalist",
    "questions",
    "export",
    "health",
    "verdict",
    "publish",
]

EVERY_PART: tuple[Part, ...] = get_args(Part)  # in the order of the stages


def name_of(*parts: object) -> str:
    """A digest that depends on nothing but `parts`."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def share_of(*parts: object) -> float:
    """A number in 0..1 that depends on nothing but `parts`."""
    return int(name_of(*parts)[:8], 16) / 0xFFFFFFFF


def part(task: Task) -> Part:
    """What a task is for; `questions` are the verdict's."""
    inputs = task.inputs
    if not isinstance(inputs, ScoreInputs):
        return inputs.stage
    if inputs.generation:
        return "candidate"
    if inputs.sets == ("verdict",):
        return "questions"
    return "finalist" if isinstance(inputs.model, ChildModel) else "reference"


@dataclass(frozen=True)
class World:
    """What is true of parents, benchmark and children, before anybody asks."""

    parents: str = "a pair"
    search: int = 40  # rows of each task
    fresh: int = 20
    verdict: int = 60
    elites: int = 12
    active: tuple[Gene, ...] = ("ratio", "attn", "ffn", "embed", "density_b")
    grain: float = 0.1  # genes that round to one multiple of it make one recipe
    rejects: float = 0.0  # share of recipes that are rejected
    dooms: frozenset[Part] = frozenset()  # all tasks of these parts are rejected
    foreign: frozenset[int] = frozenset()  # generations that somebody else recorded, with genomes of his own
    health: Literal["Pass", "Flagged", "Fail"] = "Pass"
    label: Label | None = None  # of every verdict; None: by the child
    answered: dict[TaskId, Result] = field(default_factory=dict, compare=False, repr=False)

    def answer(self, task: Task) -> Result:
        """The one result of a task."""
        if task.id not in self.answered:
            self.answered[task.id] = self._answer(task)
        return self.answered[task.id]

    def recorded(self, generation: int, of: int) -> tuple[Genome, ...]:
        """The genomes that somebody else recorded for a generation."""
        return tuple(self.genome("recorded", generation, of, i) for i in range(of))

    def recipe(self, genome: Genome, pins: Pins) -> str:
        """What a genome makes of the parents."""
        return name_of("recipe", pins.father, [round(gene / self.grain) for gene in genome.values()])

    def _answer(self, task: Task) -> Result:
        inputs = task.inputs
        candidate = candidate_of(inputs)
        if candidate and candidate.generation in self.foreign and isinstance(inputs, ScoreInputs):
            stands = self.recorded(candidate.generation, candidate.of)
            if stands != inputs.genomes:
                return Superseded(
                    task=task.id, generation=candidate.generation, genomes=tuple(genome.values() for genome in stands)
                )
        doomed = part(task) in self.dooms
        if candidate and isinstance(inputs, ScoreInputs):
            doomed = doomed or share_of("doom", self.recipe(candidate.genome, inputs.pins)) < self.rejects
        if doomed:
            where = f"{candidate.generation}/{candidate.index}" if candidate else task.stage
            message = f"{DOOM} ({where})"
            return Rejected(task=task.id, reason="NonFiniteScores", message=message, candidate=candidate)
        summary = self._summary(task)
        size = int(share_of("size", task.id) * 1e6)
        return Done(task=task.id, summary=summary, artefacts=(Ref(key=f"x/{task.id[:16]}", sha256=task.id, size=size),))

    def _summary(self, task: Task) -> Summary:
        match task.inputs:
            case ResolveInputs():
                pins = Pins(father=name_of(self.parents, "father"), mother=name_of(self.parents, "mother"))
                return ResolveSummary(pins=pins, father_bytes=269_060_552, mother_bytes=269_060_552)
            case RowsInputs() as inputs:
                counts = (
                    RowCounts(task=t.name, search=self.search, fresh=self.fresh, verdict=self.verdict)
                    for t in inputs.tasks
                )
                return RowsSummary(rows=name_of("rows", task.id), counts=tuple(counts))
            case MriInputs():
                return MriSummary(
                    table=name_of("table", task.id),
                    tensors=272,
                    differing=210,
                    identical=62,
                    one_sided=0,
                    not_weights=0,
                    degenerate=0,
                    spread=0.000412345678901,
                    informative=False,
                )
            case SearchInputs():
                elites = [self.genome("elite", task.id, i) for i in range(min(self.elites, MAX_CANDIDATES))]
                return SearchSummary(
                    history=name_of("history", task.id),
                    fitness=0.987654321012,
                    restarts=2,
                    active=self.active,
                    elites=tuple(genome.values() for genome in elites),
                )
            case ScoreInputs() as inputs:
                return self._score(inputs)
            case ReportInputs():
                return ReportSummary()
            case ExportInputs() as inputs:
                recipe = self.recipe(inputs.genome, inputs.pins)
                return ExportSummary(
                    recipe=recipe,
                    weights=name_of("weights", recipe),
                    files=9,
                    bytes=269_060_552,
                    accounts={"merged": 210, "identical": 62},
                )
            case HealthInputs():
                flagged = ("12: Interference",) if self.health != "Pass" else ()
                return HealthSummary(table=name_of("health", task.id), status=self.health, layers=30, flagged=flagged)
            case VerdictInputs() as inputs:
                return self._verdict(inputs)
            case PublishInputs() as inputs:
                hub = f"{inputs.hub.partition('@')[0]}@{'1' * 40}" if inputs.hub else ""
                return PublishSummary(recipe=inputs.recipe, files=10, hub=hub, withheld=inputs.withheld)

    def _score(self, inputs: ScoreInputs) -> ScoreSummary:
        model = inputs.model
        if isinstance(model, ChildModel):
            recipe = self.recipe(model.genome, inputs.pins)
            genes = [round(gene / self.grain) * self.grain for gene in model.genome.values()]
            level = 0.8 - sum((gene - 0.6) ** 2 for gene in genes) / 3
        else:
            recipe, level = name_of("recipe", inputs.pins.father, model.model), 0.6
        tasks = len(inputs.terms.tasks)
        n = tasks * sum({"search": self.search, "fresh": self.fresh, "verdict": self.verdict}[s] for s in inputs.sets)
        jitter = 0.2 * (share_of("jitter", recipe, inputs.sets) - 0.5)
        return ScoreSummary(
            score=round(min(max(level + jitter, 0.0), 1.0) * n) / n,  # of n questions, so equal scores occur
            n=n,
            recipe=recipe,
            answers=name_of("answers", recipe, inputs.rows, inputs.sets, inputs.terms.model_dump_json()),
            env="0123456789abcdef",
            candidate=candidate_of(inputs),
        )

    def _verdict(self, inputs: VerdictInputs) -> VerdictSummary:
        def versus(other: str) -> Comparison:
            difference = share_of("difference", inputs.child, other) - 0.5
            low, high = difference - 0.1, difference + 0.1
            return Comparison(difference=difference, low=low, high=high, p=0.0123456789012, result="NotDifferent")

        return VerdictSummary(
            label=self.label or LABELS[int(share_of("label", inputs.child) * 4.999)],
            n=self.verdict,
            alpha=inputs.alpha,
            looks=1,  # which the store knows, and no plan
            answers=inputs.child,
            vs_father=versus(inputs.father),
            vs_mother=versus(inputs.mother),
            vs_linear=versus(inputs.linear),
        )

    def genome(self, *parts: object) -> Genome:
        """Any genome that depends on nothing but `parts`."""
        found = {gene: 0.1 + 0.9 * share_of(*parts, gene) for gene in self.active}
        return Genome.of([found.get(gene, INERT.get(gene, 0.5)) for gene in GENES])


def experiment(
    steps: int = 3,
    candidates: int = 3,
    algorithm: str = "CMAES",
    finalists: int = 3,
    tasks: Sequence[str] = ("nouns",),
    output: str = "",
    seed: int = 0,
) -> Experiment:
    """A small experiment."""
    settings: dict[str, Any] = {
        "parents": {"father": {"uri": "father"}, "mother": {"uri": "mother"}},
        "store": {"uri": "store"},
        "evolution": {"steps": steps, "candidates": candidates, "algorithm": algorithm},
        "evaluation": {"tasks": [{"name": name} for name in tasks], "finalists": finalists},
        "seed": seed,
    }
    where = Bindings(father="/father", mother="/mother", store="/store", output=output)
    return Experiment(name="spine", spec=Spec.model_validate(settings), where=where, limits=Limits())


@dataclass(frozen=True)
class Run:
    """A run from its first plan to its outcome."""

    results: dict[TaskId, Result]
    asked: dict[TaskId, Task]  # in order of arrival
    outcome: Outcome
    walk: Walk  # at the end

    @property
    def kept(self) -> dict[TaskId, Result]:
        """The results that a store keeps: all but who was told to take other genomes."""
        return {task: result for task, result in self.results.items() if not isinstance(result, Superseded)}

    def asked_for(self, *parts: Part) -> list[Task]:
        """The tasks of some parts, in order of arrival."""
        return [task for task in self.asked.values() if part(task) in parts]


Order = Callable[[Sequence[Task]], Sequence[Task]]  # of the tasks under way, those that are finished next


def in_order(flight: Sequence[Task]) -> Sequence[Task]:
    """One after the other, by priority."""
    return flight[:1]


def at_random(seed: int) -> Order:
    """Any number of tasks at once, in any order."""
    choice = random.Random(seed)

    def order(flight: Sequence[Task]) -> Sequence[Task]:
        return choice.sample(flight, choice.choice((1, 1, 2, len(flight))) if len(flight) > 1 else 1)

    return order


def steps_of(
    x: Experiment, world: World, results: Mapping[TaskId, Result], order: Order = in_order, workers: int = 1
) -> Iterator[tuple[Plan, dict[TaskId, Result], list[Task]]]:
    """Plan after plan: each with the results that it was made from, and the tasks that are finished after it.

    Tasks that were given to a worker are finished even if the plan has changed meanwhile.
    """
    known: dict[TaskId, Result] = dict(results)
    flight: dict[TaskId, Task] = {}
    for _ in range(MANY):
        now = plan(x, known)
        if now.outcome:
            yield now, known, []
            return
        for task in now.ready:
            if len(flight) < workers:
                flight.setdefault(task.id, task)
        finished = list(order(list(flight.values())))
        yield now, dict(known), finished
        for task in finished:
            del flight[task.id]
            known[task.id] = world.answer(task)
    raise AssertionError(f"after {MANY} plans the run has no outcome; ready: {[part(task) for task in now.ready]}")


def run(
    x: Experiment,
    world: World,
    results: Mapping[TaskId, Result] | None = None,
    order: Order = in_order,
    workers: int = 1,
) -> Run:
    """Plan and answer until there is an outcome."""
    asked: dict[TaskId, Task] = {}
    for now, known, finished in steps_of(x, world, results or {}, order, workers):
        for task in finished:
            asked[task.id] = task
        if now.outcome:
            return Run(known, asked, now.outcome, walk(x, known))
    raise AssertionError("unreachable")


def without(run: Run, seed: int, share: float) -> dict[TaskId, Result]:
    """A finished run's results, less some at random."""
    choice = random.Random(seed)
    return {task: result for task, result in run.results.items() if choice.random() >= share}


def with_settings(x: Experiment, **sections: Any) -> Experiment:
    """The experiment with other settings, in the manifest's own names."""
    data = x.spec.model_dump(mode="json", by_alias=True)
    for section, values in sections.items():
        data[section] = {**data[section], **values} if isinstance(values, Mapping) else values
    return x.model_copy(update={"spec": Spec.model_validate(data)})


def with_steps(x: Experiment, steps: int) -> Experiment:
    """The experiment with another number of generations."""
    return with_settings(x, evolution={"steps": steps})


def among(world: World, **changes: Any) -> World:
    """Another world, with an empty memory."""
    return replace(world, answered={}, **changes)


# Generated cases.

SEEDS = st.integers(0, 2**32 - 1)
WORKERS = st.integers(1, 9)


NONE_FOREIGN: st.SearchStrategy[frozenset[int]] = st.just(frozenset())
SOME_FOREIGN: st.SearchStrategy[frozenset[int]] = st.frozensets(st.integers(1, 4), min_size=1)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    """Experiments of one to four generations."""
    algorithm = draw(st.sampled_from(("CMAES", "Genetic", "Elites")))
    return experiment(
        steps=draw(st.integers(1, 4)),
        candidates=draw(st.integers(1 if algorithm == "Elites" else 2, 4)),
        algorithm=algorithm,
        finalists=draw(st.integers(1, 4)),
        tasks=draw(st.sampled_from((("nouns",), ("nouns", "countries")))),
        output=draw(st.sampled_from(("", "/child"))),
        seed=draw(st.integers(0, 3)),
    )


def worlds(foreign: st.SearchStrategy[frozenset[int]] = NONE_FOREIGN) -> st.SearchStrategy[World]:
    """Worlds in which somebody else has recorded `foreign` generations."""
    return st.builds(
        World,
        parents=st.sampled_from("abcdefgh"),
        search=st.sampled_from((3, 40)),  # few rows make equal scores
        fresh=st.sampled_from((0, 1, 20)),
        elites=st.integers(1, 12),
        active=st.sampled_from(((), ("density_b",), ("attn", "ffn", "embed", "density_b"), GENES)),
        grain=st.sampled_from((0.001, 0.1, 0.34)),
        rejects=st.sampled_from((0.0, 0.0, 0.3, 0.7, 1.0)),
        foreign=foreign,
        health=st.sampled_from(("Pass", "Flagged", "Fail")),
    )


ANY_WORLDS = worlds(NONE_FOREIGN | SOME_FOREIGN)

"""The plan: from an experiment and the results so far to the tasks that are ready, or the outcome.

Pure. The local runner, the operator and the tests all call it after every result; nothing else decides. A walk
down the stages asks for one task after the other: a known result leads on, an unknown one makes its task ready.
So restart, resume and replay need no code of their own.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from darwinmerge.canonical import digest
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Generation, Outcome, Results, Walk, ranked, recorded_genomes
from darwinmerge.pipeline.results import (
    Done,
    ExportSummary,
    HealthSummary,
    MriSummary,
    PublishSummary,
    Rejected,
    ResolveSummary,
    RowsSummary,
    ScoreSummary,
    SearchSummary,
    VerdictSummary,
)
from darwinmerge.pipeline.tasks import (
    REVISIONS,
    ChildModel,
    ExportInputs,
    FatherModel,
    HealthInputs,
    Inputs,
    LinearModel,
    Model,
    MotherModel,
    MriInputs,
    PublishInputs,
    ReportInputs,
    ResolveInputs,
    RowSet,
    RowsInputs,
    ScoreInputs,
    SearchInputs,
    Task,
    VerdictInputs,
    mixing_of,
    terms_of,
    withheld,
)
from darwinmerge.search.genome import Genome
from darwinmerge.search.phase2 import Scores, propose

S = TypeVar("S", bound=Frozen)


class Plan(Frozen):
    """What to do next."""

    ready: tuple[Task, ...] = ()  # by priority; all of them may run at once
    outcome: Outcome | None = None


def plan(experiment: Experiment, results: Results) -> Plan:
    """The tasks that are ready, or the outcome; a pure function."""
    walked = walk(experiment, results)
    return Plan(ready=tuple(walked.ready), outcome=walked.outcome)


class _End(Exception):
    """The walk can't go on: a stage waits for results, or the experiment has failed."""


class _Walker:
    """A walk over one set of results."""

    def __init__(self, experiment: Experiment, results: Results) -> None:
        self.x = experiment
        self.spec = experiment.spec
        self.results = results
        self.seen = Walk()

    def task(self, inputs: Inputs) -> Task:
        return Task(revision=REVISIONS[inputs.stage], seed=self.spec.seed, inputs=inputs)

    def ask(self, inputs: Inputs, summary: type[S]) -> S | None:
        """The summary of a task that must succeed, or None, and the task is ready."""
        task = self.task(inputs)
        result = self.results.get(task.id)
        if isinstance(result, Rejected):
            self.seen.outcome = Outcome(kind="Failed", reason=result.reason, message=result.message)
            raise _End
        if isinstance(result, Done) and isinstance(result.summary, summary):
            return result.summary
        self.seen.ready.append(task)
        return None

    def need(self, inputs: Inputs, summary: type[S]) -> S:
        """As `ask`, but the walk ends here without it."""
        found = self.ask(inputs, summary)
        if found is None:
            raise _End
        return found

    def walk(self) -> None:
        seen, spec = self.seen, self.spec
        seen.resolved = self.ask(ResolveInputs(), ResolveSummary)
        evaluation = spec.evaluation
        seen.rows = self.ask(RowsInputs(tasks=evaluation.tasks, allow_code=evaluation.allow_code), RowsSummary)
        if seen.resolved is None:
            raise _End
        seen.mri = self.need(MriInputs(pins=seen.resolved.pins.parents, mri=_figures_only(spec.mri)), MriSummary)
        seen.search = self.ask(
            SearchInputs(table=seen.mri.table, mixing=mixing_of(spec), search=spec.search), SearchSummary
        )
        if seen.rows is None:
            raise _End
        references: dict[str, Model] = {"father": FatherModel(), "mother": MotherModel(), "linear": LinearModel()}
        for name, model in references.items():
            found = self.ask(self.score(model, "search"), ScoreSummary)
            if found:
                seen.parents[name] = found
        if seen.search is None:
            raise _End
        self.evolve(seen.search)
        if any(task.stage != "report" for task in seen.ready):
            raise _End
        seen.winner = self.choose()
        self.finish(seen.winner, references)

    def score(self, model: Model, *sets: RowSet, **place: object) -> ScoreInputs:
        seen = self.seen
        assert seen.resolved and seen.mri and seen.rows
        return ScoreInputs(
            pins=seen.resolved.pins,
            table=seen.mri.table,
            rows=seen.rows.rows,
            sets=sets,
            mixing=mixing_of(self.spec),
            terms=terms_of(self.spec),
            model=model,
            **place,
        )

    def evolve(self, search: SearchSummary) -> None:
        """Generation after generation, up to the first that isn't finished."""
        elites = [Genome.of(genes) for genes in search.elites]
        past: list[tuple[Sequence[Genome], Scores]] = []
        recorded = recorded_genomes(self.results)
        for number in range(1, self.spec.evolution.steps + 1):
            genomes = recorded.get(number) or propose(number, elites, past, search.active, self.spec)
            if not genomes:
                break
            generation = self.generation(number, genomes)
            self.seen.generations.append(generation)
            if generation.scores is None:
                pairs = zip(generation.tasks, generation.results, strict=True)
                self.seen.ready += [task for task, result in pairs if result is None]
                break
            past.append((genomes, generation.scores))
            self.report(generation)
            self.require_few_rejected()

    def require_few_rejected(self) -> None:
        """End the walk where too many candidates were rejected."""
        rejected = [r for g in self.seen.generations for r in g.results if isinstance(r, Rejected)]
        most = self.spec.evolution.max_failed_candidates
        if len(rejected) > most:
            message = f"{len(rejected)} candidates were rejected, evolution.maxFailedCandidates is {most}; the last: "
            self.seen.outcome = Outcome(kind="Failed", reason="TooManyRejected", message=message + rejected[-1].message)
            raise _End

    def report(self, generation: Generation) -> None:
        """Have the report drawn anew after a generation; first of all, since it is quick and somebody waits for it."""
        answers = tuple(r.answers if isinstance(r, ScoreSummary) else "" for r in generation.results)
        task = self.task(ReportInputs(generation=generation.number, answers=answers))
        if task.id not in self.results:
            self.seen.ready.insert(0, task)

    def generation(self, number: int, genomes: tuple[Genome, ...]) -> Generation:
        tasks, found = [], []
        for index, genome in enumerate(genomes):
            place = {"generation": number, "index": index, "genomes": genomes}
            task = self.task(self.score(ChildModel(genome=genome), "search", **place))
            result = self.results.get(task.id)
            summary = result.summary if isinstance(result, Done) else result
            tasks.append(task)
            found.append(summary if isinstance(summary, ScoreSummary | Rejected) else None)
        return Generation(number, tuple(tasks), genomes, tuple(found))

    def choose(self) -> ScoreSummary:
        """The winner: of the best few on search rows, the best on search and fresh rows together."""
        seen = self.seen
        assert seen.rows
        best = ranked(seen.generations)[: self.spec.evaluation.finalists]
        if not best:
            reasons = [r.message for g in seen.generations for r in g.results if isinstance(r, Rejected)]
            message = f"every candidate was rejected; the first: {reasons[0]}" if reasons else "there was no candidate"
            seen.outcome = Outcome(kind="Failed", reason="NoCandidate", message=message)
            raise _End
        if len(best) == 1 or not any(count.fresh for count in seen.rows.counts):
            return best[0]
        for place, summary in enumerate(best):
            assert summary.candidate
            inputs = self.score(ChildModel(genome=summary.candidate.genome), "search", "fresh")
            if isinstance(self.results.get(self.task(inputs).id), Rejected):
                continue  # it fails the candidate, not the run
            again = self.ask(inputs, ScoreSummary)
            if again:
                seen.finalists[place] = again.model_copy(update={"candidate": summary.candidate})
        if any(task.stage == "score" for task in seen.ready):
            raise _End
        if not seen.finalists:
            seen.outcome = Outcome(kind="Failed", reason="NoCandidate", message="every finalist was rejected")
            raise _End
        place = max(seen.finalists, key=lambda place: (seen.finalists[place].score, -place))
        return best[place]

    def finish(self, winner: ScoreSummary, references: Mapping[str, Model]) -> None:
        """Export, verdict, health and publication of the winner."""
        seen, spec = self.seen, self.spec
        assert seen.resolved and seen.rows and seen.mri and winner.candidate
        genome = winner.candidate.genome
        seen.export = self.ask(
            ExportInputs(
                pins=seen.resolved.pins,
                table=seen.mri.table,
                mixing=mixing_of(spec),
                genome=genome,
                max_shard_size=spec.output.max_shard_size,
                mri=_figures_only(spec.mri),
            ),
            ExportSummary,
        )
        for name, model in {"child": ChildModel(genome=genome), **references}.items():
            found = self.ask(self.score(model, "verdict"), ScoreSummary)
            if found:
                seen.verdicts[name] = found
        if seen.export:
            seen.health = self.ask(
                HealthInputs(
                    pins=seen.resolved.pins.parents,
                    table=seen.mri.table,
                    recipe=seen.export.recipe,
                    weights=seen.export.weights,
                    mri=_figures_only(spec.mri),
                    health=spec.health,
                ),
                HealthSummary,
            )
        if len(seen.verdicts) == 4:
            seen.verdict = self.ask(self.verdict_inputs(), VerdictSummary)
        if not (seen.export and seen.health and seen.verdict):
            raise _End
        if seen.health.status != "Fail":
            output, hub = self.x.where.output, self.x.where.hub
            stays = bool(output or hub) and withheld(spec, seen.verdict.label)
            seen.published = self.need(
                PublishInputs(
                    title=self.x.name,
                    recipe=seen.export.recipe,
                    weights=seen.export.weights,
                    verdict=seen.verdict,
                    health=seen.health,
                    rows=seen.rows.rows,
                    scores={name: summary.answers for name, summary in seen.verdicts.items()},
                    terms=terms_of(spec),
                    candidates=sum(len(generation.results) for generation in seen.generations),
                    finalists=len(seen.finalists),
                    tied=seen.tied,
                    destination=digest(output) if output and not stays else "",
                    hub=hub.uri if hub and not stays else "",
                    withheld=stays,
                ),
                PublishSummary,
            )
        seen.outcome = Outcome(kind="Complete", reason=seen.verdict.label)

    def verdict_inputs(self) -> VerdictInputs:
        answers = {name: summary.answers for name, summary in self.seen.verdicts.items()}
        return VerdictInputs(**answers, alpha=self.spec.evaluation.alpha)


def walk(experiment: Experiment, results: Results) -> Walk:
    """All that the results say; a pure function, and the one source of `plan` and `summarise`."""
    walker = _Walker(experiment, results)
    with contextlib.suppress(_End):
        walker.walk()
    seen = walker.seen
    if seen.outcome:  # nothing is to be done any more, but for reports: a run that has ended can be looked at
        seen.ready = [task for task in seen.ready if task.stage == "report"]
        seen.outcome = None if seen.ready else seen.outcome
    return seen


def _figures_only(mri: Mri) -> Mri:
    """The settings that change the diagnosis; the weight changes only what is made of it."""
    return mri.model_copy(update={"weight": Mri().weight})

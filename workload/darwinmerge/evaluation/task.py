"""Benchmarking as tasks: divide the rows, score a model, judge the winner."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from darwinmerge.canonical import digest, rounded
from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, EvaluatorFailed, machine_fault
from darwinmerge.evaluation.answers import Answers, TaskAnswers, read_answers
from darwinmerge.evaluation.logs import files, samples
from darwinmerge.evaluation.questions import Questions, finite
from darwinmerge.evaluation.rejection import OtherGenomes, Rejection
from darwinmerge.evaluation.rows import Row, RowSets
from darwinmerge.evaluation.statistics import weighted_mean
from darwinmerge.evaluation.verdict import compare, label
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.pipeline.claim import fetch_result
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import Candidate, Done, RowCounts, RowsSummary, ScoreSummary, VerdictSummary
from darwinmerge.pipeline.tasks import RowSet, RowsInputs, ScoreInputs, VerdictInputs, candidate_of
from darwinmerge.search.genome import Genome
from darwinmerge.store import Ref, fetch_json, fetch_known, layout

T = TypeVar("T")


def rows(inputs: RowsInputs, seed: int, place: Place) -> tuple[RowsSummary, tuple[Ref, ...]]:
    """Divide the rows of every task among search, finalists and verdict."""
    found = place.benchmark(inputs.allow_code).row_sets(inputs.tasks, seed)
    name = digest(found)
    counts = tuple(counts_of(task.name, found) for task in inputs.tasks)
    ref = place.leave(layout.rows(name), found.model_dump_json(indent=1).encode())
    return RowsSummary(rows=name, counts=counts), (ref,)


def counts_of(name: str, found: RowSets) -> RowCounts:
    """How many rows a task of the manifest has; of a group, those of all its tasks."""
    of_task = [rows for rows in found.tasks if name in (rows.task, rows.group)]
    return RowCounts(
        task=name,
        search=sum(len(rows.search) for rows in of_task),
        fresh=sum(len(rows.fresh) for rows in of_task),
        verdict=sum(len(rows.verdict) for rows in of_task),
    )


def score(inputs: ScoreInputs, seed: int, place: Place, last_try: bool) -> tuple[ScoreSummary, tuple[Ref, ...]]:
    """Make the resident model the one asked for, and ask it every question of the row sets.

    A candidate's generation is recorded first, so that no crash and no other CPU can give it other genomes.

    Raises:
        Rejection: the model's answers are not numbers, or the evaluator failed on it twice.
        OtherGenomes: the generation was recorded with other genomes.
    """
    from darwinmerge.evaluation.resident import environment

    candidate = _record_generation(inputs, place)
    recipe = place.recipe(inputs.model, inputs.table, inputs.pins, inputs.mixing, seed)

    def model() -> Any:
        return place.embodied(recipe, inputs.terms, inputs.pins)

    env = environment(place.where.device, inputs.terms)
    _require_environment(env, place)
    asked = _Asked(inputs, recipe.id, env, place)
    try:
        answers = asked.answers(model)
    except EvaluatorFailed as error:
        if last_try:
            raise Rejection("EvaluatorError", str(error)[:300]) from error
        raise
    name = digest(answers)
    ref = place.leave(layout.answers(name), answers.model_dump_json(indent=1).encode())
    asked.keep_logs(name)
    summary = ScoreSummary(
        score=weighted_mean(answers.oriented(), answers.weights),
        n=sum(len(task.values) for task in answers.tasks),
        recipe=recipe.id,
        answers=name,
        env=digest(env)[:16],
        candidate=candidate,
    )
    return summary, (ref,)


def stage(inputs: ScoreInputs, seed: int, place: Place) -> None:
    """Leave the merged child in the store, for another pod to score; the parents themselves need no merge.

    Raises:
        OtherGenomes: as `score` does.
    """
    _record_generation(inputs, place)
    if inputs.model.model not in ("father", "mother"):
        place.stage(place.recipe(inputs.model, inputs.table, inputs.pins, inputs.mixing, seed), inputs.pins)


def _require_environment(env: dict[str, str], place: Place) -> None:
    """One run's scores are measured on one kind of machine: another kind moves log-likelihoods, and rankings with them.

    Raises:
        BadConfiguration: this run began in another environment.
    """
    if place.store.create(layout.ENVIRONMENT, json.dumps(env, indent=1, sort_keys=True).encode()):
        return
    began = fetch_json(place.store, layout.ENVIRONMENT)
    keys = sorted(key for key in {*began, *env} if began.get(key) != env.get(key))
    differing = [f"{key}: {began.get(key)} there, {env.get(key)} here" for key in keys]
    if differing:
        raise BadConfiguration(
            f"this run's scores were measured in another environment ({'; '.join(differing)}), and scores of two "
            "can't be compared; go on where it began, or begin a new run in another store"
        )


def _evaluated(work: Callable[[], T]) -> T:
    """What the benchmark's code gives; its failures are told from those of the machine and of the store."""
    try:
        return work()
    except (DarwinError, OSError):
        raise
    except Exception as error:
        if machine_fault(error):
            raise
        raise EvaluatorFailed(f"the benchmark's code failed: {type(error).__name__}: {error}") from error


def _record_generation(inputs: ScoreInputs, place: Place) -> Candidate | None:
    candidate = candidate_of(inputs)
    if candidate is None:
        return None
    genomes = [genome.values() for genome in inputs.genomes]
    text = json.dumps({"generation": inputs.generation, "genomes": genomes}, indent=1)
    key = layout.generation(inputs.generation)
    if not place.store.create(key, text.encode()):
        stands = tuple(Genome.of(genes) for genes in fetch_json(place.store, key)["genomes"])
        if stands != inputs.genomes:
            raise OtherGenomes(stands)
    return candidate


class _Asked:
    """The questions of a score, asked chunk by chunk; what the store has is not asked again."""

    def __init__(self, inputs: ScoreInputs, recipe: str, env: dict[str, str], place: Place) -> None:
        self.inputs, self.recipe, self.env, self.place = inputs, recipe, env, place
        self.sets = fetch_known(place.store, layout.rows(inputs.rows), RowSets, inputs.rows)
        self.total = sum(len(getattr(t, name)) for t in self.sets.tasks for name in inputs.sets)
        self.done = 0
        self.benchmark = place.benchmark(inputs.terms.allow_code)
        self.logs: dict[str, list[dict[str, Any]]] = {}  # samples, task by task

    def answers(self, model: Callable[[], Any]) -> Answers:
        """All answers; `model` gives lm-eval's model, and is called only if a question must be asked."""
        named = {task.name: task for task in self.inputs.terms.tasks}
        tasks = []
        for sets in self.sets.tasks:
            wanted = named[sets.group or sets.task].model_copy(update={"name": sets.task})
            hashes: list[str] = []
            values: list[float] = []
            for name in self.inputs.sets:
                chosen = getattr(sets, name)
                if not chosen:
                    continue
                questions = self._questions(wanted, chosen)
                responses = self._responses(wanted, name, questions, model)
                values += _evaluated(partial(questions.metric, responses))
                hashes += [row.content for row in chosen]
                self.logs.setdefault(sets.task, []).extend(_evaluated(partial(samples, questions, chosen)))
            tasks.append(
                TaskAnswers(
                    task=wanted.name,
                    metric=wanted.metric,
                    weight=rounded(wanted.weight * sets.share),
                    higher_is_better=sets.higher_is_better,
                    rows=tuple(hashes),
                    values=tuple(rounded(value) for value in values),
                )
            )
        return Answers(recipe=self.recipe, sets=self.inputs.sets, env=self.env, tasks=tuple(tasks))

    def _questions(self, wanted: BenchmarkTask, chosen: Sequence[Row]) -> Questions:
        prompting = self.place.prompting(self.inputs.terms, self.inputs.pins)
        return self.benchmark.questions(wanted, self.sets, chosen, prompting)

    def keep_logs(self, name: str) -> None:
        """Leave what was asked and answered in lm-eval's own files."""
        terms = self.inputs.terms
        shots = {task.name: task.num_fewshot for task in terms.tasks}
        told = {
            sets.task: (self.benchmark.loaded(sets.task), shots[sets.group or sets.task], self.logs[sets.task])
            for sets in self.sets.tasks
            if sets.task in self.logs
        }
        whole = terms.samples == "Candidates" or not self.inputs.generation
        prompting = self.place.prompting(terms, self.inputs.pins)
        for file, data in files(told, name[: layout.SHORT], self.recipe[: layout.SHORT], terms, prompting):
            if whole or file.startswith("results_"):
                self.place.store.create(layout.harness(self.recipe, file), data)

    def _responses(
        self, wanted: BenchmarkTask, name: RowSet, questions: Questions, model: Callable[[], Any]
    ) -> list[list[Any]]:
        terms = self._terms(wanted, name)
        responses: list[list[Any]] = []
        size = self.inputs.terms.chunk
        for number, start in enumerate(range(0, len(questions.requests), size)):
            stop = min(start + size, len(questions.requests))
            key = layout.chunk(self.recipe, terms, number)
            if self.place.store.head(key) is None:
                self.place.pause()
                asked = partial(questions.ask, model(), start, stop)
                self._store(key, _evaluated(asked))
            responses += fetch_json(self.place.store, key)["responses"]
            self.done += stop - start
            self.place.tell(self.done, self.total)
        return responses

    def _store(self, key: str, responses: list[list[Any]]) -> None:
        if not finite(responses):
            raise Rejection("NonFiniteScores", "the model answers with log-likelihoods that are NaN or infinite")
        self.place.store.create(key, json.dumps({"recipe": self.recipe, "responses": responses}).encode())

    def _terms(self, wanted: BenchmarkTask, name: RowSet) -> str:
        """Digest of all that a response depends on besides the model and the run's environment."""
        told = self.inputs.terms.model_copy(update={"tasks": (), "samples": "Finals", "allow_code": ()})
        of_task = {"fewshot": wanted.num_fewshot, "gen_kwargs": wanted.gen_kwargs}
        return digest({"rows": self.inputs.rows, "task": wanted.name, "set": name, "terms": told, **of_task})


def verdict(inputs: VerdictInputs, seed: int, place: Place) -> tuple[VerdictSummary, tuple[Ref, ...]]:
    """Compare the child with its parents and the plain average on the verdict rows.

    How often these rows were looked at before is what the store says: no driver has to remember it.
    """
    named = {"child": inputs.child, "father": inputs.father, "mother": inputs.mother, "linear": inputs.linear}
    answers = {name: read_answers(place.store, found) for name, found in named.items()}
    child = answers["child"]
    mixed = [name for name, other in answers.items() if other.env != child.env]
    if mixed:
        raise BadInput(f"child and {mixed[0]} were scored in different environments; a verdict never mixes them")
    looks = _looks(inputs, place)
    alpha = inputs.alpha / 2 ** (looks - 1)
    versus = {}
    for number, name in enumerate(("father", "mother", "linear")):
        versus[name] = compare(child.oriented(), answers[name].oriented(), child.weights, alpha, seed + number)
    summary = VerdictSummary(
        label=label(versus),
        n=sum(len(task.values) for task in child.tasks),
        alpha=alpha,
        looks=looks,
        answers=inputs.child,
        vs_father=versus["father"],
        vs_mother=versus["mother"],
        vs_linear=versus["linear"],
    )
    return summary, ()


def _looks(inputs: VerdictInputs, place: Place) -> int:
    """Looks at the verdict's rows, this one included: one more than any verdict on another child has had."""
    looks = [1]
    for stat in place.store.list(f"{layout.RESULTS}verdict-"):
        earlier = fetch_result(place.store, stat.key)
        if isinstance(earlier, Done) and isinstance(earlier.summary, VerdictSummary):
            looks.append(earlier.summary.looks + (earlier.summary.answers != inputs.child))
    return max(looks)

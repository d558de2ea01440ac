"""What a manifest would cost and what it can show, without computing anything: `darwin validate`'s answer."""

from pathlib import Path

import yaml

from darwinmerge.checkpoint.opening import local_path, open_model
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.evaluation.statistics import detectable, rows_needed
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.experiment.experiment import SIDES, Experiment, planned_questions
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.results import RowCounts
from darwinmerge.publish.licences import forbids
from darwinmerge.publish.lineage import ancestor

CHANGED = 0.25  # share of questions that a child answers otherwise than its parent; what `detectable` assumes
POWERS = (0.8, 0.9)


class ParentEstimate(Frozen):
    """What is known of a parent without reading its weights."""

    uri: str
    tensors: int | None = None
    bytes: int | None = None
    note: str = ""


class Estimate(Frozen):
    """What a manifest would cost, and what its verdict can see."""

    name: str
    father: ParentEstimate
    mother: ParentEstimate
    generations: int
    candidates: int
    questions: int | None
    """Questions in all; None where the number of rows is left to the data set."""
    verdict_rows: int | None
    detectable: float | None
    """The smallest difference of the weighted mean that the verdict sees with 80 % power, if a quarter of the
    questions change."""
    min_difference: float
    """The smallest difference that matters, as the manifest has it."""
    needed_rows: tuple[int, int] | None
    """Verdict rows with which that difference would be seen with 80 and with 90 % power."""
    rows: tuple[RowCounts, ...]
    """Rows of each task, where the benchmark was looked at."""
    published: str
    """Where the child goes besides the store, and with which verdict; empty: nowhere."""
    warnings: tuple[str, ...]


def estimate(experiment: Experiment, rows: tuple[RowCounts, ...] = ()) -> Estimate:
    """Estimate an experiment from its manifest and, where they are at hand, its parents' headers.

    Args:
        experiment: what is to be run.
        rows: of each task, where the benchmark was looked at: they stand in for the manifest's.
    """
    if rows:
        experiment = _with_rows(experiment, rows)
    evaluation, evolution = experiment.spec.evaluation, experiment.spec.evolution
    wishes = [task.verdict.rows for task in evaluation.tasks]
    known = [n for n in wishes if isinstance(n, int)]
    counted = len(known) == len(wishes)
    weights = [task.weight for task in evaluation.tasks]
    smallest = evaluation.min_difference
    seen = detectable(known, weights, evaluation.alpha, CHANGED) if counted else None
    needed = [rows_needed(smallest, known, weights, evaluation.alpha, CHANGED, p) for p in POWERS] if counted else None
    warnings = [warning for task in evaluation.tasks for warning in _of_splits(task)]
    if seen is not None and needed and seen > smallest:
        warnings.append(
            f"the verdict is too small for a difference of {smallest:g} (spec.evaluation.minDifference): it takes "
            f"{needed[0]:,} verdict rows to see one with 80 % power, {needed[1]:,} with 90 %; there are {sum(known):,}"
        )
    warnings += _of_folder(experiment)
    father, mother = (_parent(*experiment.where.parent(who)) for who in SIDES)
    if father.tensors and mother.tensors and father.tensors != mother.tensors:
        warnings.append(f"father has {father.tensors} tensors, mother {mother.tensors}; see spec.merge.oneSided")
    if experiment.where.hub:
        warnings += _of_licences(experiment)
    return Estimate(
        name=experiment.name,
        father=father,
        mother=mother,
        generations=evolution.steps,
        candidates=evolution.steps * evolution.candidates,
        questions=planned_questions(evaluation, evolution.steps * evolution.candidates),
        verdict_rows=sum(known) if counted else None,
        detectable=None if seen is None else round(seen, 4),
        min_difference=smallest,
        needed_rows=(needed[0], needed[1]) if needed else None,
        rows=rows,
        published=_published(experiment),
        warnings=tuple(warnings),
    )


def _with_rows(experiment: Experiment, rows: tuple[RowCounts, ...]) -> Experiment:
    """The experiment with the numbers of rows that its data sets give it."""
    tasks = []
    for task, found in zip(experiment.spec.evaluation.tasks, rows, strict=True):
        search = task.search.model_copy(update={"rows": found.search, "fresh": found.fresh})
        verdict = task.verdict.model_copy(update={"rows": found.verdict})
        tasks.append(task.model_copy(update={"search": search, "verdict": verdict}))
    told = experiment.spec.evaluation.model_copy(update={"tasks": tuple(tasks)})
    return experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"evaluation": told})})


def _of_splits(task: BenchmarkTask) -> list[str]:
    """What is to be said of a task whose manifest names splits."""
    found = []
    if "test" in task.search.splits:
        found.append(
            f"task {task.name}: the search uses rows of a test split; scores are not comparable with published ones"
        )
    judged = task.verdict.split or ("test" if "test" in task.search.splits else "")  # the default, where it's known
    if judged in task.search.splits:
        found.append(
            f"task {task.name}: the verdict's rows come from a split of the search, {judged}; they are kept out of the "
            "search, but a verdict on a split of its own says more"
        )
    return found


def _of_folder(experiment: Experiment) -> list[str]:
    """What can be told of the task folder without lm-eval: that it is there, and which tasks have one split only."""
    if not experiment.where.task_folder:
        return []
    folder = Path(experiment.where.task_folder)
    if not folder.is_dir():
        return [f"spec.evaluation.taskFolder: {folder} is not there"]
    wanted = {task.name for task in experiment.spec.evaluation.tasks if not task.search.splits}
    found = []
    for path in sorted(folder.rglob("*.yaml")):
        try:
            config = yaml.safe_load(path.read_text())
        except (OSError, ValueError, yaml.YAMLError):
            continue  # tags of lm-eval's: what it needs can't be told here
        name = config.get("task") if isinstance(config, dict) else None
        if not isinstance(name, str) or name not in wanted or "include" in config:
            continue  # a group has a list there
        splits = [config[f"{name}_split"] for name in ("training", "validation") if config.get(f"{name}_split")]
        if config.get("test_split") and not splits:
            found.append(
                f"task {config['task']}: it has one split, {config['test_split']}, which search and verdict divide; "
                "scores are not comparable with published ones, and a verdict on a split of its own says more"
            )
    return found


IF = {"Always": "", "NotWorse": ", unless the verdict is Worse", "BeatsBoth": ", if the child beats both parents"}


def _published(experiment: Experiment) -> str:
    """Where the child goes, and when."""
    where = experiment.where
    made = "private" if where.hub and where.hub.private else "public"
    places = [where.output] if where.output else []
    places += [f"{where.hub.uri} ({made} where it is created)"] if where.hub else []
    return " and ".join(places) + IF[experiment.spec.output.publish_if] if places else ""


def _of_licences(experiment: Experiment) -> list[str]:
    """What the model cards of parents and base on this machine tell of their licences, for a child to be uploaded."""
    found = []
    for who in experiment.where.models:
        uri, base = experiment.where.parent(who)
        try:
            for place in filter(None, (uri, base)):
                local_path(place)
            licence = ancestor(uri, open_model(uri, base=base, settle=_unasked)).licence
        except (BadConfiguration, BadInput):
            continue  # not at hand: the run looks, before it computes anything
        if forbids(licence):
            found.append(
                f"{who}'s licence, {licence.name or licence.id}, forbids sharing what is made from it: the run will "
                "refuse to upload the child (spec.output.hub.ignoreLicence)"
            )
        elif not licence.id:
            found.append(f"{who} tells no licence: whether its child may be uploaded is for you to find out")
    return found


def _parent(uri: str, base: str) -> ParentEstimate:
    for place in filter(None, (uri, base)):
        try:
            if not local_path(place).exists():
                return ParentEstimate(uri=uri, note=f"{'' if place == uri else f'{place}: '}not there (yet)")
        except BadConfiguration:
            return ParentEstimate(uri=uri, note="not looked at: it is not on this machine")
    try:
        folder = open_model(uri, base=base, settle=_unasked)
    except (BadConfiguration, BadInput) as error:
        return ParentEstimate(uri=uri, note=str(error))
    size = sum(located.info.nbytes for located in folder.tensors.values())
    return ParentEstimate(uri=uri, tensors=len(folder.tensors), bytes=size)


def _unasked(uri: str) -> str:
    """What an adapter is on, unless it is on a hub: nothing is asked for an estimate."""
    if uri.startswith("hf://"):
        raise BadConfiguration(f"not looked at: it is an adapter on {uri}")
    return uri

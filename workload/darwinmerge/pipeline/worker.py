"""The worker: does tasks, one after the other, and keeps its model between them.

A result is what the store says it is. A task whose result is there is not done again, and of two workers that
do one task the first to finish is right, the other reports what the first wrote.
"""

import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from darwinmerge.errors import BadConfiguration, DarwinError, ExitCode, VersionSkew, machine_fault
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.recall import recalled
from darwinmerge.pipeline.results import RESULT, Done, Rejected, Result, Summary, Superseded, TaskId
from darwinmerge.pipeline.tasks import (
    REVISIONS,
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
from darwinmerge.search.genome import Genome
from darwinmerge.store import Ref, layout


class Cost(Frozen):
    """What the attempt that finished a task cost."""

    task: TaskId
    stage: str
    seconds: float
    peak_bytes: int  # resident memory of the worker while it did the task; 0 where the system doesn't tell
    finished: float  # seconds since 1970


def perform(task: Task, expected: TaskId, place: Place, last_try: bool) -> Result:
    """Do one task, unless its result is in the store, and store the result.

    Raises:
        VersionSkew: this version computes another id for the task than its driver did.
        DarwinError: the attempt failed; nothing is stored, and another may succeed.
    """
    _require_same(task, expected)
    found = recalled(place.store, task)
    if found is not None:
        return found
    started = time.monotonic()
    _reset_peak()
    result = _result(task, place, last_try)
    cost = Cost(
        task=task.id,
        stage=task.stage,
        seconds=round(time.monotonic() - started, 3),
        peak_bytes=_peak(),
        finished=round(time.time(), 3),
    )
    if isinstance(result, Superseded):
        return result
    place.store.create(layout.cost(task.stage, task.id), cost.model_dump_json().encode())
    key = layout.result(task.stage, task.id)
    if place.store.create(key, RESULT.dump_json(result, by_alias=True, exclude_defaults=False)):
        return result
    return RESULT.validate_json(place.store.read(key))


def prepare(task: Task, expected: TaskId, place: Place) -> Result | None:
    """Stage the child that a task scores; its result, if there is one already.

    Raises:
        VersionSkew: as `perform` does.
        DarwinError: the attempt failed; what is staged already stays.
    """
    from darwinmerge.evaluation.rejection import OtherGenomes
    from darwinmerge.evaluation.task import stage

    _require_same(task, expected)
    found = recalled(place.store, task)
    if found is None and isinstance(task.inputs, ScoreInputs):
        try:
            stage(task.inputs, task.seed, place)
        except OtherGenomes as other:
            return _superseded(task, other.genomes)
    return found


def _require_same(task: Task, expected: TaskId) -> None:
    if task.id != expected or task.revision != REVISIONS[task.stage]:
        raise VersionSkew(
            f"task {task.stage} {expected[:16]}: this worker takes it for {task.id[:16]}, revision "
            f"{REVISIONS[task.stage]} instead of {task.revision}; run driver and worker in one version"
        )


def _result(task: Task, place: Place, last_try: bool) -> Result:
    from darwinmerge.evaluation.rejection import OtherGenomes, Rejection

    candidate = candidate_of(task.inputs)
    try:
        summary, artefacts = _stage(task, place, last_try)
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"{task.stage} needs the package {error.name}, which isn't installed: pip install 'darwinmerge[torch,eval]'"
        ) from error
    except Rejection as rejection:
        return Rejected(task=task.id, reason=rejection.reason, message=rejection.message, candidate=candidate)
    except OtherGenomes as other:
        return _superseded(task, other.genomes)
    return Done(task=task.id, summary=summary, artefacts=artefacts)


def _superseded(task: Task, genomes: Sequence[Genome]) -> Superseded:
    candidate = candidate_of(task.inputs)
    assert candidate
    return Superseded(
        task=task.id, generation=candidate.generation, genomes=tuple(genome.values() for genome in genomes)
    )


def _stage(task: Task, place: Place, last_try: bool) -> tuple[Summary, tuple[Ref, ...]]:
    """Each stage's own module, imported only when it is needed."""
    inputs, seed = task.inputs, task.seed
    match inputs:
        case ResolveInputs():
            from darwinmerge.mri.task import resolve

            return resolve(place)
        case MriInputs():
            from darwinmerge.mri.task import mri

            return mri(inputs, place)
        case SearchInputs():
            from darwinmerge.search.task import search

            return search(inputs, seed, place)
        case RowsInputs():
            from darwinmerge.evaluation.task import rows

            return rows(inputs, seed, place)
        case ScoreInputs():
            from darwinmerge.evaluation.task import score

            return score(inputs, seed, place, last_try)
        case VerdictInputs():
            from darwinmerge.evaluation.task import verdict

            return verdict(inputs, seed, place)
        case ReportInputs():
            from darwinmerge.report.task import report

            return report(place)
        case ExportInputs():
            from darwinmerge.publish.export import export

            return export(inputs, seed, place)
        case HealthInputs():
            from darwinmerge.health.task import health

            return health(inputs, place)
        case PublishInputs():
            from darwinmerge.publish.task import publish

            return publish(inputs, place)


def exit_code(error: BaseException) -> ExitCode:
    """What an attempt's failure is to a driver."""
    if isinstance(error, DarwinError):
        return error.code
    return machine_fault(error) or ExitCode.INTERNAL


def words(error: BaseException) -> str:
    """What to say of an attempt's failure; of an error that isn't ours, its type too."""
    return str(error) if isinstance(error, DarwinError) else f"{type(error).__name__}: {error}"


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""An experiment, in three parts: what is computed, where things lie, and how far and with what means.

Only the first part decides results; the second may differ between a laptop and a cluster, and the third may
change while a run goes on.
"""

import json
from pathlib import Path
from typing import Any, Literal

from darwinmerge.canonical import canonical
from darwinmerge.experiment.benchmark import Evaluation
from darwinmerge.experiment.manifest import Hub, Manifest, Spec
from darwinmerge.experiment.types import Count, Frozen, Side

Who = Side | Literal["base"]
SIDES: tuple[Side, ...] = ("father", "mother")


class Bindings(Frozen):
    """Where things lie: URIs with absolute paths."""

    father: str
    mother: str
    base: str = ""  # empty: there is none
    store: str
    father_base: str = ""  # of a parent that is an adapter: the model that it is on; empty: the one that it names
    mother_base: str = ""
    output: str = ""  # empty: the child stays in the store
    hub: Hub | None = None  # where it is uploaded too
    task_folder: str = ""
    device: str = "cpu"

    @property
    def models(self) -> tuple[Who, ...]:
        """Whom a merge reads: both parents and, if there is one, the base."""
        return (*SIDES, "base") if self.base else SIDES

    def parent(self, who: Who) -> tuple[str, str]:
        """Where a parent or the base lies, and the model that an adapter there is on, if the manifest names one."""
        on = {"father": self.father_base, "mother": self.mother_base, "base": ""}
        return str(getattr(self, who)), on[who]


class Limits(Frozen):
    """How far, and with what means."""

    attempts: Count = 3  # of one task, those that failed by themselves
    interruptions: Count = 20  # of one task: preemptions and stops
    retry_seconds: float = 1.0  # after a first failure, or a second interruption; doubled for each further one


class Experiment(Frozen):
    """All that a driver needs."""

    name: str
    spec: Spec
    where: Bindings
    limits: Limits = Limits()


def experiment_of(manifest: Manifest, folder: Path, device: str = "cpu") -> Experiment:
    """The experiment of a manifest whose relative paths start at `folder`."""
    spec = manifest.spec
    where = Bindings(
        father=_absolute(spec.parents.father.uri, folder),
        mother=_absolute(spec.parents.mother.uri, folder),
        base=_absolute(spec.parents.base.uri, folder) if spec.parents.base else "",
        store=_absolute(spec.store.uri, folder),
        father_base=_absolute(spec.parents.father.base, folder) if spec.parents.father.base else "",
        mother_base=_absolute(spec.parents.mother.base, folder) if spec.parents.mother.base else "",
        output=_absolute(spec.output.uri, folder) if spec.output.uri else "",
        hub=spec.output.hub,
        task_folder=_absolute(spec.evaluation.task_folder, folder) if spec.evaluation.task_folder else "",
        device=device,
    )
    return Experiment(name=manifest.metadata.name, spec=spec, where=where)


def _absolute(uri: str, folder: Path) -> str:
    return uri if "://" in uri else str((folder / Path(uri).expanduser()).resolve())


MAY_CHANGE = (  # while a run lasts; parents may move, but are the same ones
    *("parents", "store", "cluster", "evolution.steps", "evaluation.taskFolder", "evaluation.minDifference"),
    *("output.uri", "output.hub", "output.publishIf"),
)


def science_of(spec: Spec) -> dict[str, Any]:
    """What must stay the same while a run lasts: everything but `MAY_CHANGE`."""
    data: dict[str, Any] = json.loads(canonical(spec))  # defaults left out: a newer version's settings change nothing
    for path in MAY_CHANGE:
        section, _, field = path.partition(".")
        (data.get(section, {}) if field else data).pop(field or section, None)
    return {section: settings for section, settings in data.items() if settings != {}}


def differences(old: object, new: object, path: str = "spec") -> list[str]:
    """Fields in which two sciences differ, one line each."""
    if isinstance(old, dict | None) and isinstance(new, dict | None) and (old or new):
        old, new = old or {}, new or {}
        keys = sorted({*old, *new})
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}")]
    shown = ["the default" if value is None else repr(value) for value in (old, new)]
    return [] if old == new else [f"{path}: {shown[0]} there, {shown[1]} here"]


def questions_of(children: int, finalists: int, search: int, fresh: int, verdict: int) -> int:
    """Questions that a whole run asks, where each set has so many rows over all tasks.

    The children, both parents and their average are asked the search rows, finalists (if there are several) the fresh
    ones, and four models the verdict's.
    """
    finalists = min(finalists, children)
    return search * (children + 3) + (fresh * finalists if finalists > 1 else 0) + verdict * 4


def planned_questions(evaluation: Evaluation, children: int) -> int | None:
    """`questions_of` a manifest; None where it leaves the number of rows to the data set."""
    sums = [0, 0, 0]
    for task in evaluation.tasks:
        search, fresh, verdict = task.search.rows, task.search.fresh, task.verdict.rows
        if not isinstance(search, int) or not isinstance(verdict, int):
            return None
        rows = search, search if fresh == "Same" else fresh, verdict
        sums = [total + n for total, n in zip(sums, rows, strict=True)]
    return questions_of(children, evaluation.finalists, *sums)

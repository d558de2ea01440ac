"""An experiment, in three parts: what is computed, where things lie, and how far and with what means.

Only the first part decides results; the second may differ between a laptop and a cluster, and the third may
change while a run goes on.
"""

import json
from pathlib import Path
from typing import Any, Literal

from darwinmerge.canonical import canonical
from darwinmerge.experiment.manifest import Evaluation, Hub, Manifest, Spec
from darwinmerge.experiment.types import Count, Frozen

Side = Literal["father", "mother"]
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


def science_of(spec: Spec) -> dict[str, Any]:
    """What must stay the same while a run lasts: everything but places, Kubernetes, and the number of steps."""
    data: dict[str, Any] = json.loads(canonical(spec))  # defaults left out: a newer version's settings change nothing
    for place in ("parents", "store", "cluster"):
        data.pop(place, None)
    apart = {"evolution": ["steps"], "evaluation": ["taskFolder", "minDifference"]}
    apart["output"] = ["uri", "hub", "publishIf"]
    for section, field in ((section, field) for section, fields in apart.items() for field in fields):
        data.get(section, {}).pop(field, None)
    return {section: settings for section, settings in data.items() if settings != {}}


def differences(old: object, new: object, path: str = "spec") -> list[str]:
    """Fields in which two sciences differ, one line each."""
    if isinstance(old, dict | None) and isinstance(new, dict | None) and (old or new):
        old, new = old or {}, new or {}
        keys = sorted({*old, *new})
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}")]
    shown = ["the default" if value is None else repr(value) for value in (old, new)]
    return [] if old == new else [f"{path}: {shown[0]} there, {shown[1]} here"]


def evaluation_questions(evaluation: Evaluation, generations: int, candidates: int) -> int | None:
    """Questions that a whole run asks, or None where the manifest leaves the number of rows to the data set."""
    total = 0
    for task in evaluation.tasks:
        n, fresh, verdict = task.search.rows, task.search.fresh, task.verdict.rows
        if not isinstance(n, int) or not isinstance(verdict, int):
            return None
        again = n if fresh == "Same" else fresh
        total += n * (generations * candidates + 3) + again * evaluation.finalists + verdict * 4
    return total

"""An experiment, in three parts: what is computed, where things lie, and how far and with what means.

Only the first part decides results; the second may differ between a laptop and a cluster, and the third may
change while a run goes on.
"""

from pathlib import Path

from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.manifest import Evaluation, Manifest, Spec
from darwinmerge.experiment.types import Count, Frozen


class Bindings(Frozen):
    """Where things lie: URIs with absolute paths."""

    father: str
    mother: str
    store: str
    output: str = ""  # empty: the child stays in the store
    task_folder: str = ""
    device: str = "cpu"


class Limits(Frozen):
    """How far, and with what means."""

    attempts: Count = 3  # of one task, those that failed by themselves
    interruptions: Count = 20  # of one task: preemptions and stops
    retry_seconds: float = 1.0  # before the second attempt; doubled for each further one


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
        store=_absolute(spec.store.uri, folder),
        output=_absolute(spec.output.uri, folder) if spec.output.uri else "",
        task_folder=_absolute(spec.evaluation.task_folder, folder) if spec.evaluation.task_folder else "",
        device=device,
    )
    return Experiment(name=manifest.metadata.name, spec=spec, where=where)


def _absolute(uri: str, folder: Path) -> str:
    return uri if "://" in uri else str((folder / uri).resolve())


def science_of(spec: Spec) -> dict[str, object]:
    """What must stay the same while a run lasts: everything but places, Kubernetes, and the number of steps."""
    data = spec.model_dump(mode="json", by_alias=True, exclude={"parents", "store", "cluster"})
    data["evolution"].pop("steps")
    data["evaluation"].pop("taskFolder")
    data["output"].pop("uri")
    return data


def differences(old: object, new: object, path: str = "spec") -> list[str]:
    """Fields in which two sciences differ, one line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}")]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} here"]


def evaluation_questions(evaluation: Evaluation, generations: int, candidates: int) -> int | None:
    """Questions that a whole run asks, or None where the manifest leaves the number of rows to the data set."""
    total = 0
    for task in evaluation.tasks:
        n, fresh, verdict = task.search.n, task.search.fresh, task.verdict.n
        if not isinstance(n, int) or not isinstance(verdict, int):
            return None
        again = n if fresh == "Same" else fresh
        total += n * (generations * candidates + 3) + again * evaluation.finalists + verdict * 4
    return total


def require_local(experiment: Experiment) -> None:
    """Refuse, before anything is computed, what this version's readers can't reach.

    Raises:
        BadConfiguration: a URI's scheme has no reader; every such URI is named.
    """
    places = {
        "spec.parents.father.uri": experiment.where.father,
        "spec.parents.mother.uri": experiment.where.mother,
        "spec.store.uri": experiment.where.store,
        "spec.output.uri": experiment.where.output,
    }
    bad = [
        f"{field}: {uri.partition('://')[0]}:// can't be reached by this version; give a path or file://"
        for field, uri in places.items()
        if "://" in uri and not uri.startswith("file://")
    ]
    if bad:
        raise BadConfiguration("\n  ".join(["this machine can't run it:", *bad]))

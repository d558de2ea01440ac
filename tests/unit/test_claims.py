"""Which volume claims a Job has, and what it may do there: all read parents, only publication writes."""

from collections.abc import Mapping

import pytest

from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.orders import Orders, order
from darwinmerge.pipeline.results import Label
from darwinmerge.pipeline.tasks import Task
from darwinmerge_operator.job import Start
from tests.unit.plan_world import World, experiment, run
from tests.unit.test_jobs import FINISH, RECALL, WHERE, Json, container_of, made, pod_of, score, start

OUTPUT = "pvc://models/children/tiny"
SHARED = WHERE.model_copy(update={"father": "pvc://models/father", "output": OUTPUT})  # one claim for both
APART = SHARED.model_copy(update={"output": "pvc://children/tiny"})


def publication(label: Label = "ChildBeatsBoth") -> Task:
    (task,) = run(experiment(output=OUTPUT), World(label=label)).asked_for("publish")
    return task


def publishes(where: Bindings, label: Label = "ChildBeatsBoth") -> Start:
    return start(order(publication(label)), where=where)


def recalls(where: Bindings, claims: bool) -> Start:
    x = experiment().model_copy(update={"where": where})
    asked = Orders(where=where, claim=x if claims else None, orders=(order(publication()),))
    return RECALL.model_copy(update={"orders": asked})


def on_claims(manifest: Json) -> dict[str, bool]:
    """Names of claims, and whether they are mounted for writing, as volume and mount agree."""
    claims = {
        v["name"]: v["persistentVolumeClaim"] for v in pod_of(manifest)["volumes"] if "persistentVolumeClaim" in v
    }
    mounts = [mount for mount in container_of(manifest)["volumeMounts"] if mount["name"] in claims]
    assert len(mounts) == len(claims)
    for mount in mounts:
        claim = claims[mount["name"]]
        assert mount["mountPath"] == f"/mnt/pvc/{claim['claimName']}"
        assert mount.get("readOnly", False) == claim.get("readOnly", False)
    modes = {claim["claimName"]: not claim.get("readOnly", False) for claim in claims.values()}
    assert len(modes) == len(claims), "no claim twice"
    return modes


def test_what_holds_parents_is_mounted_once_and_read_only() -> None:
    places = {"father": "pvc://models/father", "mother": "pvc://models/deep/mother", "mother_base": "pvc://vast/base"}
    assert on_claims(made(start(where=WHERE.model_copy(update=places)))) == {"models": False, "vast": False}


def test_what_holds_a_base_is_mounted_too() -> None:
    assert on_claims(made(start(where=WHERE.model_copy(update={"base": "pvc://bases/base"})))) == {"bases": False}


CASES: Mapping[str, tuple[Start, Mapping[str, bool]]] = {
    "publication": (publishes(APART), {"models": False, "children": True}),
    "publication beside a parent": (publishes(SHARED), {"models": True}),
    "publication of what is withheld": (publishes(APART, "Worse"), {"models": False}),
    "whoever claims the store": (recalls(APART, claims=True), {"models": False, "children": False}),
    "the same beside a parent": (recalls(SHARED, claims=True), {"models": False}),
    "whoever recalls later": (recalls(APART, claims=False), {"models": False}),
    "a benchmark": (start(order(score()), where=SHARED), {"models": False}),
    "the summary": (FINISH.model_copy(update={"orders": Orders(where=APART)}), {"models": False}),
}


@pytest.mark.parametrize("name", CASES)
def test_only_publication_writes_and_only_to_its_output(name: str) -> None:
    started, modes = CASES[name]
    assert on_claims(made(started)) == modes

"""What GitOps tools are given: Argo CD's check says of every recorded status what it is; examples hold together.

The statuses are those of real runs; `tests/cluster/test_stages.py` tells how they are recorded.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge_operator.resource import from_api
from darwinmerge_operator.status import Status
from darwinmerge_operator.view import PHASES, refused
from tests.argocd import HEALTH, OF_PHASE, expected, health
from tests.clustered import edited, small
from tests.unit.test_examples import EXAMPLES

Json = dict[str, Any]
GITOPS = EXAMPLES / "gitops"
WAVE = "argocd.argoproj.io/sync-wave"
RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "statuses").iterdir())}


def objects(folder: Path) -> Iterator[Json]:
    """Every object of a folder's files."""
    for path in sorted(folder.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def test_every_phase_is_recorded() -> None:
    phases = {*PHASES.values(), *OF_PHASE, "Starting", "Evolving", "Pending"}
    assert {phase.lower() for phase in phases} | {"unseen", "changed"} == set(RECORDED)


@pytest.mark.parametrize("stage", RECORDED)
def test_argo_cd_says_of_a_status_what_its_phase_says(stage: str) -> None:
    said, message = health(RECORDED[stage])
    assert said == expected(RECORDED[stage])
    assert message


@pytest.mark.parametrize("stage", RECORDED)
def test_a_recorded_status_is_one_that_this_version_writes(stage: str) -> None:
    Status.model_validate(RECORDED[stage]["status"])


@pytest.mark.parametrize("stage", sorted(set(RECORDED) - {"unseen"}))
def test_whatever_a_run_was_what_is_changed_since_is_progressing(stage: str) -> None:
    changed = edited(RECORDED[stage], {"metadata.generation": RECORDED[stage]["metadata"]["generation"] + 1})
    assert health(changed)[0] == "Progressing"


@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": 1}, {"observedGeneration": 1, "conditions": []}])
def test_a_run_that_nobody_has_looked_at_is_progressing(status: Json | None) -> None:
    document = {"metadata": {"generation": 1}, **({} if status is None else {"status": status})}
    assert health(document)[0] == "Progressing"


def test_what_the_operator_cannot_take_is_degraded_and_says_why() -> None:
    status = refused(1, "spec.merge.colour: unknown", None, 0.0).model_dump(mode="json", by_alias=True)
    assert health({"metadata": {"generation": 1}, "status": status}) == (
        "Degraded",
        "BadConfiguration: spec.merge.colour: unknown",
    )


def test_a_degraded_run_says_what_helps() -> None:
    for stage in ("stalled", "failed"):
        (true,) = [
            one
            for one in RECORDED[stage]["status"]["conditions"]
            if one["type"].lower() == stage and one["status"] == "True"
        ]
        assert health(RECORDED[stage])[1] == f"{true['reason']}: {true['message']}"


def test_the_check_is_put_under_the_key_that_argo_cd_looks_for() -> None:
    (generated,) = yaml.safe_load((HEALTH.parent / "kustomization.yaml").read_text())["configMapGenerator"]
    document = small()
    group = document["apiVersion"].partition("/")[0]
    assert generated["files"] == [f"resource.customizations.health.{group}_{document['kind']}={HEALTH.name}"]


def test_an_experiment_in_git_is_taken_as_it_stands() -> None:
    runs = [document for document in objects(GITOPS / "experiments" / "team-a") if document["kind"] == "DarwinMerge"]
    assert runs
    for run in runs:
        from_api(run)


def test_operator_comes_first_then_what_experiments_need_and_they_come_last() -> None:
    waves = {
        document["kind"]: int(document["metadata"]["annotations"][WAVE])
        for folder in ("argocd", "experiments/team-a")
        for document in objects(GITOPS / folder)
        if WAVE in document.get("metadata", {}).get("annotations", {})
    }
    assert waves["Application"] < waves["ApplicationSet"]
    assert waves["Namespace"] < waves["ExternalSecret"] == waves["LocalQueue"] < waves["DarwinMerge"]
    assert waves["DarwinMerge"] == max(waves.values()), "Argo CD would wait for a run's end before the next wave"


def test_a_team_may_bring_what_its_folder_holds() -> None:
    (project,) = [document for document in objects(GITOPS / "argocd") if document["kind"] == "AppProject"]
    allowed = {
        (one["group"], one["kind"]) for key in project["spec"] if key.endswith("list") for one in project["spec"][key]
    }
    brought = {
        (document["apiVersion"].rpartition("/")[0].partition("/")[0], document["kind"])
        for document in objects(GITOPS / "experiments" / "team-a")
        if document["kind"] != "Kustomization"
    }
    assert brought <= allowed

"""What a GitOps tool makes of every stage of real runs: Argo CD's health check and kstatus, which Flux asks, agree.

All that an API server ever showed of these runs is looked at. `tests/unit/statuses/` holds one status of each stage, so
that the check can be tested without a cluster; they are recorded here anew:

    DARWIN_TEST_RECORD=tests/unit/statuses python -m pytest -m "cluster and slow" tests/cluster/test_stages.py
"""

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwinmerge_operator.resource import KIND
from tests.argocd import expected, health
from tests.cluster.conftest import Kubernetes, named, until
from tests.cluster.operated import Json, Operator, Run
from tests.clustered import edited
from tests.integration.conftest import SKILLS, World

RECORD = "DARWIN_TEST_RECORD"
SECONDS = 1800  # for all of them, on a machine that does much else
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(2 * SECONDS)]

# kstatus tells whether the operator has taken what was applied and can go on; Argo CD's health, how the run is.
AGREE = {
    ("Healthy", "Current"),
    ("Progressing", "Current"),  # it runs as it was applied
    ("Progressing", "InProgress"),  # nobody has looked at it, or its first Job isn't there yet
    ("Suspended", "Current"),  # as somebody wants it, or a queue
    ("Degraded", "Failed"),  # it needs a person
}
ENDED = ("Degraded", "Current")  # a run that has failed for good: taken, carried out, over
CODE = "def results(doc, responses):\n    raise ValueError('the benchmark is broken')\n"


@pytest.fixture(scope="module")
def shown(
    kubernetes: Kubernetes, images: tuple[str, str], small_run: Callable[[str], Run], small_world: World
) -> list[Json]:
    """Every state that the API server showed of four runs, in order."""
    broken = {path.name: path.read_text() for path in (small_world.folder / "tasks").iterdir()}
    broken["skill_a.yaml"] += "process_results: !function broken.results\n"
    metadata = {"name": "broken"}
    data = {**broken, "broken.py": CODE}

    def like(name: str, edits: dict[Any, Any]) -> Run:
        plain = small_run(name)
        few = [{"name": skill, "search": {"rows": 12}, "verdict": {"rows": 20}} for skill in SKILLS]
        given = {"metadata.name": name, "spec.evaluation.tasks": few, "spec.evaluation.finalists": 2, **edits}
        return replace(plain, document=edited(plain.document, given))

    tiny = like("tiny", {})
    failed = like(
        "failed",
        {
            "spec.evaluation.allowCode": ["skill_a"],
            ("spec", "cluster", "template", "volumes", 0, "configMap", "name"): "broken",
        },
    )
    no_node = {"spec.cluster.template.nodeSelector": {"gpu": "h900"}, "spec.cluster.pendingDeadlineSeconds": 40}
    stalled = like("stalled", no_node)
    queued = like("queued", {"spec.cluster.queueName": "nobody-looks-at-it"})
    runs = (tiny, failed, stalled, queued)
    kubernetes.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, tiny.namespace)
    operator = Operator(kubernetes, tiny.namespace)
    found: list[Json] = []
    over = threading.Event()

    def watch() -> None:
        for event in kubernetes.of(KIND).watch(namespace=tiny.namespace, timeout=SECONDS):
            found.append(event["raw_object"])
            if over.is_set() and event["type"] == "DELETED":
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for run in runs:
        run.apply()
    until(lambda: len(found) >= len(runs))  # before there is an operator
    operator.install(*images)
    try:
        until(lambda: tiny.running("-mri-"), SECONDS)
        tiny.patch({"cluster": {"suspend": True}})
        tiny.wait("Suspended")
        tiny.patch({"cluster": {"suspend": False}})
        stalled.wait("Stalled")
        queued.wait("Suspended")
        failed.wait("Failed", SECONDS)
        tiny.wait("Complete", SECONDS)
    finally:
        over.set()
        for run in runs:
            run.delete()
        operator.uninstall()
    watcher.join(10)
    return found


def test_every_stage_was_seen(shown: list[Json]) -> None:
    stages = {name for name, _ in map(named_by_stage, shown)}
    assert stages >= {
        "unseen",
        "changed",
        "Resolving",
        "MRI",
        "Evolving",
        "Finals",
        "Verdict",
        "Publishing",
        "Complete",
    }
    assert stages >= {"Suspended", "Queued", "Pending", "Stalled", "Failed"}


def test_argo_cd_says_of_every_state_what_the_phase_says(shown: list[Json]) -> None:
    for document in shown:
        assert health(document)[0] == expected(document), document["status"]


def test_kstatus_agrees(shown: list[Json]) -> None:
    command = shlex.split(named("DARWIN_TEST_KSTATUS"))
    told = subprocess.run(command, input="\n".join(map(json.dumps, shown)), check=True, capture_output=True, text=True)
    says = [line.split()[0] for line in told.stdout.splitlines()]
    assert len(says) == len(shown)
    for document, word in zip(shown, says, strict=True):
        stage = named_by_stage(document)[0]
        assert (health(document)[0], word) in ({ENDED} if stage == "Failed" else AGREE), stage


@pytest.mark.skipif(
    not os.environ.get(RECORD), reason=f"{RECORD} is not set: it names the folder to record statuses in"
)
def test_one_of_each_stage_is_recorded(shown: list[Json]) -> None:
    folder = Path(os.environ[RECORD])
    for path in folder.glob("*.json"):
        path.unlink()
    first = dict(reversed([named_by_stage(document) for document in shown]))
    for stage, kept in first.items():
        (folder / f"{stage.lower()}.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def named_by_stage(document: Json) -> tuple[str, Json]:
    """A state's stage, and what GitOps tools look at of it."""
    generation, status = document["metadata"]["generation"], document.get("status") or {}
    observed = status.get("observedGeneration", -1)
    stage = "unseen" if observed < 0 else "changed" if observed < generation else status["phase"]
    return stage, {"metadata": {"generation": generation}, "status": status}

"""The API server keeps a status as it is written, and takes an event once; kstatus, GitOps' eyes, reads it right."""

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import ConflictError

from darwinmerge.errors import ExitCode
from darwinmerge_operator.decision import Decision, Halt, Policy
from darwinmerge_operator.reconcile import merge_patch
from darwinmerge_operator.status import Status
from darwinmerge_operator.tell import Event, manifest
from darwinmerge_operator.view import read, refused, status_of
from tests.cluster.conftest import Kubernetes, named
from tests.clustered import edited, small
from tests.unit.decided import failed
from tests.unit.looks import Looks
from tests.unit.plan_world import World, experiment

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def looked(world: World | None = None) -> Looks:
    """A run from its first look to its end."""
    looks = Looks(experiment(steps=1, output="s3://models/child"), Policy(parallelism=1))
    looks.all(world or World(grain=1e-9))
    return looks


def at_mri() -> Looks:
    """A run whose MRI has just been started."""
    looks = Looks(experiment())
    looks.until(World(), "mri")
    return looks


def suspended() -> Status:
    looks = at_mri()
    looks.step(suspend=True)
    return looks.status


def queued() -> Status:
    looks = at_mri()
    looks.with_jobs(suspended=True)
    looks.now += 60
    looks.step()
    return looks.status


def without_a_job() -> Status:
    looks = Looks(experiment())
    halt = Halt(reason="JobRefused", message="exceeded quota: jobs")
    return status_of(looks.seen(), Decision(ledger=looks.ledger, halts=(halt,)), None)


def stalled() -> Status:
    looks = at_mri()
    looks.end(looks.jobs[-1], failed(ExitCode.BAD_INPUT), failed=True)
    looks.step()
    return looks.status


STATUSES: dict[str, Status] = {status.phase: status for status in reversed(looked().statuses)} | {
    "Suspended": suspended(),
    "Queued": queued(),
    "Stalled": stalled(),
    "Failed": looked(World(rejects=1.0)).status,
    "first Job refused": without_a_job(),
    "refused": refused(1, "spec.merge.colour: this version doesn't know it", None, 0.0),
}
STALLED = ("Stalled", "first Job refused", "refused")
KSTATUS = {phase: "Failed" if phase in STALLED else "Current" for phase in STATUSES} | {"Starting": "InProgress"}


@pytest.fixture(scope="module")
def there(merges: Any, make_namespace: Callable[..., str]) -> Json:
    """A DarwinMerge that no operator looks at."""
    made: Json = merges.create(small(), namespace=make_namespace({})).to_dict()
    return made


@pytest.mark.parametrize("phase", STATUSES)
def test_the_server_keeps_what_is_written_over_any_other_phase(merges: Any, there: Json, phase: str) -> None:
    place = {"name": there["metadata"]["name"], "namespace": there["metadata"]["namespace"]}
    status = STATUSES[phase]
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    found = merges.get(**place).to_dict()["status"]
    patch = {"metadata": place, "status": merge_patch(found, written)}
    merges.status.patch(body=patch, content_type="application/merge-patch+json", **place)
    assert read(merges.get(**place).to_dict()["status"]) == status


def test_the_server_takes_an_event_about_a_run_once(kubernetes: Kubernetes, there: Json) -> None:
    posted = manifest(Event(reason="Stalled", message="é" * 1024), there, time.time())
    kubernetes.create(posted)
    with pytest.raises(ConflictError):
        kubernetes.create(posted)
    namespace, uid = there["metadata"]["namespace"], there["metadata"]["uid"]
    found = kubernetes.of("Event").get(namespace=namespace, field_selector=f"involvedObject.uid={uid}").to_dict()
    assert [event["message"] for event in found["items"]] == ["é" * 1024]


@pytest.fixture(scope="module")
def kstatus() -> Callable[[Json], str]:
    """What kstatus makes of an object, in one word."""
    command = shlex.split(named("DARWIN_TEST_KSTATUS"))

    def ask(document: Json) -> str:
        done = subprocess.run(command, input=json.dumps(document), check=True, capture_output=True, text=True)
        return done.stdout.split()[0]

    return ask


def having(status: Status, generation: int = 1) -> Json:
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return edited(small(), {"metadata.generation": generation, "status": written})


@pytest.mark.parametrize("phase", STATUSES)
def test_who_waits_for_a_run_waits_until_it_goes_on_or_cannot(kstatus: Callable[[Json], str], phase: str) -> None:
    assert kstatus(having(STATUSES[phase])) == KSTATUS[phase]


def test_a_run_that_nobody_has_looked_at_is_waited_for(kstatus: Callable[[Json], str]) -> None:
    assert kstatus(having(Status())) == "InProgress"


def test_a_changed_run_is_waited_for_until_it_has_been_looked_at(kstatus: Callable[[Json], str]) -> None:
    assert kstatus(having(STATUSES["Evolving"], generation=2)) == "InProgress"

"""What a look asks of the API server, and what it never does by what it only remembers."""

from typing import Any

import pytest

from darwinmerge_operator.ledger import from_data, to_data
from darwinmerge_operator.reconcile import Reconciler
from darwinmerge_operator.resource import GROUP, KIND, PLURAL, VERSION
from darwinmerge_operator.workqueue import Postponed
from tests.unit.api_world import ApiWorld

KEY = ("team", "my-merge")
RUN = f"/apis/{GROUP}/{VERSION}/namespaces/team/{PLURAL}/my-merge"
LEDGER = "/api/v1/namespaces/team/configmaps/my-merge.ledger"
JOBS = "/apis/batch/v1/namespaces/team/jobs/"
NOON = 1_767_268_800.0


@pytest.fixture
def world() -> ApiWorld:
    found = ApiWorld()
    found.put(RUN, manifest())
    return found


@pytest.fixture
def look(world: ApiWorld) -> Reconciler:
    return Reconciler(world, "image:1", clock=lambda: NOON)


def manifest() -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": "my-merge", "namespace": "team", "generation": 1, "uid": "run"},
        "spec": {
            "parents": {"father": {"uri": "s3://bucket/father"}, "mother": {"uri": "s3://bucket/mother"}},
            "evaluation": {"tasks": [{"name": "nouns"}]},
            "store": {"uri": "s3://bucket/store"},
            "cluster": {"parallelism": 1},
        },
    }


def created(world: ApiWorld) -> list[str]:
    return [path.removeprefix(JOBS) for path in world.objects if path.startswith(JOBS)]


def test_a_first_look_reads_what_there_is(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    reads = [asked for asked in world.requests() if asked.startswith("GET")]
    assert reads == ["GET darwinmerges", "GET configmaps", "GET jobs"]


def test_a_later_one_asks_only_for_jobs_and_pods_and_writes_nothing(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    look(KEY)  # tells that the first Job exists
    world.requests()
    look(KEY)
    assert world.requests() == ["GET jobs", "GET pods"]


def test_by_a_ledger_that_is_only_remembered_nothing_is_deleted(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    (recall,) = created(world)
    look(KEY)
    stands = world.objects[LEDGER]
    ledger = from_data(stands["binaryData"])
    assert ledger is not None
    # another operator has heard that the store is empty, and has started the first task
    ahead = ledger.model_copy(update={"recalling": False})
    world.put(LEDGER, {**stands, "binaryData": to_data(ahead)})
    del world.objects[JOBS + recall]
    Reconciler(world, "image:1", clock=lambda: NOON)(KEY)
    (task,) = created(world)
    assert "resolve" in task
    world.requests()
    look(KEY)  # this one remembers that it waits for what the store knows
    assert "GET configmaps" in world.requests()
    assert created(world) == [task]


def test_of_two_that_write_the_slower_one_reads_anew(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    world.put(LEDGER, world.objects[LEDGER])
    world.objects[RUN]["metadata"]["annotations"] = {f"{GROUP}/retry-requested-at": "now"}
    world.put(RUN, world.objects[RUN])
    look._remembered.keep_run(KEY, world.objects[RUN])  # as the watch tells it
    with pytest.raises(Postponed):
        look(KEY)
    world.requests()
    look(KEY)
    assert world.requests()[:2] == ["GET darwinmerges", "GET configmaps"]


def test_a_ledger_that_somebody_deleted_is_noticed_by_the_next_write(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    look(KEY)
    del world.objects[LEDGER]
    world.objects[RUN]["metadata"]["annotations"] = {f"{GROUP}/retry-requested-at": "now"}
    world.put(RUN, world.objects[RUN])
    look._remembered.keep_run(KEY, world.objects[RUN])
    with pytest.raises(Postponed):
        look(KEY)
    look(KEY)
    assert LEDGER in world.objects


def test_a_run_that_is_gone_is_forgotten(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    del world.objects[RUN]
    look._remembered.forget(KEY)  # as the watch tells it
    assert look(KEY) is None

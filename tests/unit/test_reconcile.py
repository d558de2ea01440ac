"""What a look asks of the API server, and what it never does by what it only remembers."""

from typing import Any

import pytest

from darwinmerge.pipeline.results import Label
from darwinmerge_operator.api import Refused
from darwinmerge_operator.ledger import Ledger, from_data, to_data
from darwinmerge_operator.reconcile import UNSERVED_SECONDS, Reconciler
from darwinmerge_operator.resource import GROUP, KIND, PLURAL, VERSION, from_api
from darwinmerge_operator.workqueue import Postponed
from tests.unit.api_world import ApiWorld
from tests.unit.plan_world import World, run

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


def test_a_ledger_that_is_somebody_elses_stalls_a_run_that_keeps_what_was_told_of_it(
    world: ApiWorld, look: Reconciler
) -> None:
    look(KEY)
    look(KEY)
    found = world.objects[RUN]
    found["status"] |= {"activeSeconds": 77, "lastHandledRetryAt": "noon"}
    del world.objects[LEDGER]
    world.put(LEDGER, {"metadata": {"name": "my-merge.ledger", "namespace": "team"}, "data": {"theirs": "1"}})
    Reconciler(world, "image:2", clock=lambda: NOON)(KEY)
    status = world.objects[RUN]["status"]
    assert condition(world, "Stalled")["reason"] == "LedgerRefused"
    assert (status["image"], status["activeSeconds"], status["lastHandledRetryAt"]) == ("image:1", 77, "noon")


DEFAULT = World()
APPLIED = ["PATCH deployments", "PATCH services"]


def complete(world: ApiWorld, answers: World = DEFAULT, **output: Any) -> None:
    """Let the run be one whose results are all known, and whose child is to be served."""
    found = manifest()
    found["spec"]["output"] = output
    found["spec"]["cluster"]["serve"] = {}
    results = run(from_api(found).experiment(), answers).kept
    ledger = Ledger(results=results, finished=True, recalling=False, generation=1, image="image:1")
    owned = {"name": "my-merge.ledger", "namespace": "team", "ownerReferences": [{"uid": "run", "kind": KIND}]}
    world.put(LEDGER, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": owned, "binaryData": to_data(ledger)})
    world.put(RUN, found)


def test_a_published_child_is_served_once_and_again_when_the_manifest_changes(
    world: ApiWorld, look: Reconciler
) -> None:
    complete(world)
    look(KEY)
    assert [asked for asked in world.requests() if asked in APPLIED] == APPLIED
    deployment = world.objects["/apis/apps/v1/namespaces/team/deployments/my-merge-serve"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][0].startswith("s3://bucket/store/children/")
    assert "Served" in {found.get("reason") for found in world.objects.values()}
    look(KEY)
    assert not set(world.requests()) & set(APPLIED)
    found = world.objects[RUN]
    found["spec"]["cluster"]["serve"] = {"replicas": 3}
    found["metadata"]["generation"] = 2
    look._remembered.keep_run(KEY, world.put(RUN, found))  # as the watch tells it
    look(KEY)
    assert world.objects["/apis/apps/v1/namespaces/team/deployments/my-merge-serve"]["spec"]["replicas"] == 3


def test_a_child_whose_health_fails_is_not_served(world: ApiWorld, look: Reconciler) -> None:
    complete(world, World(health="Fail"))
    look(KEY)
    assert not set(world.requests()) & set(APPLIED)


@pytest.mark.parametrize("output", [{"uri": "s3://bucket/child"}, {"hub": {"repo": "org/child"}}])
def test_a_child_that_its_verdict_keeps_in_the_store_is_not_served_and_the_condition_says_what_to_do(
    world: ApiWorld, look: Reconciler, output: dict[str, Any]
) -> None:
    complete(world, World(label="Worse"), **output)
    assert look(KEY) is None, "it isn't refused: nothing comes of asking again"
    assert look(KEY) is None
    assert not set(world.requests()) & set(APPLIED)
    served = condition(world, "Served")
    assert (served["status"], served["reason"]) == ("False", "Withheld")
    assert "the verdict is Worse, and spec.output.publishIf: NotWorse keeps" in served["message"]
    assert "publishIf: Always" in served["message"]
    assert [reason for reason, _ in events(world, "ServingWithheld")] == ["ServingWithheld"]
    assert condition(world, "Complete")["status"] == "True"


@pytest.mark.parametrize(
    ("label", "publish_if", "place"),
    [
        ("Worse", "Always", "s3://bucket/child"),
        ("BeatsFather", "NotWorse", "s3://bucket/child"),
        ("BeatsFather", "NotWorse", "pvc://models/child"),
    ],
)
def test_a_child_with_a_verdict_that_publishes_it_is_served_from_its_output(
    world: ApiWorld, look: Reconciler, label: Label, publish_if: str, place: str
) -> None:
    complete(world, World(label=label), uri=place, publishIf=publish_if)
    look(KEY)
    deployment = world.objects["/apis/apps/v1/namespaces/team/deployments/my-merge-serve"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == place.replace("pvc:/", "/mnt/pvc")
    assert world.objects[RUN]["status"]["child"]["uri"] == place


def condition(world: ApiWorld, kind: str) -> dict[str, Any]:
    conditions = world.objects[RUN]["status"]["conditions"]
    return next((one for one in conditions if one["type"] == kind), {})


def events(world: ApiWorld, *reasons: str) -> list[tuple[str, str]]:
    """Reason and message of those that were posted."""
    found = [one for one in world.objects.values() if one.get("reason") in reasons]
    return [(one["reason"], one["message"]) for one in found]


def test_servers_that_the_api_server_refuses_are_applied_again_ever_later_and_the_run_is_complete(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, why = [NOON], "deployments.apps is forbidden"
    look = Reconciler(world, "image:1", clock=lambda: clock[0])

    def forbidden(*_: Any) -> None:
        raise Refused(why)

    complete(world)
    with monkeypatch.context() as patched:
        patched.setattr(world, "apply", forbidden)
        waits = []
        while clock[0] < NOON + 2000:
            waits.append(look(KEY) or 0.0)
            clock[0] += waits[-1]
    assert waits[:5] == [60, 60, 120, 240, 480]
    assert set(waits[5:]) == {UNSERVED_SECONDS}
    served = condition(world, "Served")
    assert (served["status"], served["reason"], served["message"]) == ("False", "Refused", why)
    assert condition(world, "Complete")["status"] == "True"
    assert look(KEY) is None
    assert condition(world, "Served")["status"] == "True"
    assert events(world, "ServingRefused", "Served") == [
        ("ServingRefused", why),
        ("Served", "by Deployment my-merge-serve and Service my-merge-serve"),
    ]
    world.requests()
    look(KEY)
    assert not set(world.requests()) & set(APPLIED)


@pytest.mark.parametrize("kind", ["apps/v1/namespaces/team/deployments", "v1/namespaces/team/services"])
@pytest.mark.parametrize("owners", [[], [{"uid": "an earlier run of this name", "kind": KIND}]])
def test_what_is_somebody_elses_is_never_taken_for_a_server(
    world: ApiWorld, look: Reconciler, kind: str, owners: list[Any]
) -> None:
    path = f"/{'apis' if 'apps' in kind else 'api'}/{kind}/my-merge-serve"
    theirs = world.put(path, {"metadata": {"name": "my-merge-serve", "ownerReferences": owners}, "spec": {"a": "shop"}})
    complete(world)
    look(KEY)
    assert world.objects[path] == theirs
    served = condition(world, "Served")
    assert (served["status"], "my-merge-serve isn't this run's" in served["message"]) == ("False", True)
    del world.objects[path]
    look(KEY)
    assert condition(world, "Served")["status"] == "True"


def test_an_operator_that_is_started_again_serves_what_an_earlier_one_did_not(
    world: ApiWorld, look: Reconciler
) -> None:
    complete(world)
    look(KEY)
    status = world.objects[RUN]["status"]
    status["conditions"] = [one for one in status["conditions"] if one["type"] != "Served"]  # as older ones left it
    world.requests()
    Reconciler(world, "image:1", clock=lambda: NOON)(KEY)
    assert [asked for asked in world.requests() if asked in APPLIED] == APPLIED
    assert condition(world, "Served")["status"] == "True"


def test_a_run_that_is_gone_is_forgotten(world: ApiWorld, look: Reconciler) -> None:
    look(KEY)
    del world.objects[RUN]
    look._remembered.forget(KEY)  # as the watch tells it
    assert look(KEY) is None

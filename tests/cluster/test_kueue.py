"""A run whose Jobs stand in a queue of the real Kueue: it waits, is preempted and goes on, and its child is the same.

One run goes through most of it, up to its first scores; others, whole runs among them, through what else may happen in
a queue. All of them are slow (`make faults`). What was told meanwhile lies in build/kueue.md.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import NotFoundError

from darwinmerge_operator.pod import QUEUE_LABEL
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.faults import Scene
from tests.cluster.operated import GPU, Json, Operator, Run, computed_twice, storing, with_gpus
from tests.cluster.outcomes import keep
from tests.cluster.overheard import WHATEVER_BECOMES_OF_IT, overheard
from tests.cluster.queues import MERGE, Queue, transcript, with_name
from tests.cluster.test_faults import APART
from tests.integration.conftest import World
from tests.proxy import Proxy

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 9  # pendingDeadlineSeconds: less than a run waits before it is told to be queued


@pytest.fixture(scope="module")
def operator(kubernetes: Kubernetes, merges: Any, namespace: str, images: tuple[str, str]) -> Iterator[Operator]:
    found = Operator(kubernetes, namespace)
    found.install(*images, "kueue.enabled=true")
    yield found
    found.uninstall()


@pytest.fixture
def queue(kubernetes: Kubernetes, furnished: str) -> Iterator[Queue]:
    """With a quota of one GPU."""
    found = Queue.make(kubernetes, furnished)
    yield found
    found.remove()


@pytest.fixture(scope="module")
def transcripts() -> dict[str, str]:
    """By test."""
    return {}


@pytest.fixture
def begin(
    operator: Operator,
    furnished: str,
    small_run: Callable[[str], Run],
    transcripts: dict[str, str],
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., Run]]:
    """Applies the small experiment, in a queue; in the end, nothing of it was computed twice."""
    made: list[tuple[Run, Proxy]] = []
    began = time.time()

    def apply(queue: str, **cluster: Any) -> Run:
        name = f"queued-{len(made)}"
        plain = with_name(small_run(f"{name}-{time.monotonic_ns()}"), name)
        run = with_gpus(plain, queueName=queue, **cluster)
        made.append((run, proxies.enter_context(storing(run))))
        run.apply()
        return run

    with contextlib.ExitStack() as proxies:
        with overheard(operator.kubernetes, furnished) as heard:
            yield apply
        transcripts[request.node.name] = transcript(operator.kubernetes, furnished, began)
        keep("kueue.md", "\n".join(f"## {name}\n\n{text}" for name, text in transcripts.items()))
        try:
            for run, store in made:
                heard.assert_no_secret(run, WHATEVER_BECOMES_OF_IT)
                assert computed_twice(run, store) == []
        finally:
            for run, _ in made:
                run.delete()


def held(run: Run, words: str) -> Json:
    """Wait until a run is told to be queued, for a reason that has these words in it."""

    def found() -> Json:
        suspended = run.condition("Suspended")
        assert not run.condition("Stalled"), run.condition("Stalled")
        return suspended if words in suspended.get("message", "") else {}

    condition = until(found)
    assert (condition["reason"], run.status()["phase"]) == ("Queued", "Queued")
    return condition


def child(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of what lasts, all that was measured and the child's weights; a run's own name is in its child's card."""
    measured = ("scores/", "answers/", "generations/")
    return {key: data for key, data in objects.items() if key.startswith(measured) or key.endswith(".safetensors")}


def told(run: Run) -> list[str]:
    return [event["reason"] for event in run.events()]


def test_a_run_waits_for_quota_makes_room_for_the_urgent_and_goes_on_after_its_last_chunk(
    kubernetes: Kubernetes,
    operator: Operator,
    images: tuple[str, str],
    queue: Queue,
    begin: Callable[..., Run],
    on_one_machine: World,
) -> None:
    queue.give(0)
    run = begin(queue.name, pendingDeadlineSeconds=PATIENCE)
    held(run, f"insufficient quota for {GPU}")  # in Kueue's words; Jobs without a GPU went through it
    # enough of it: a Job waits for ten seconds before it replaces a Pod that was stopped
    run.patch({"cluster": {"pendingDeadlineSeconds": None}})
    queue.give(1)
    scene = Scene(kubernetes, run, operator, operator, images)
    pod = scene.at_work()
    (job,) = (one for one in run.jobs() if one["metadata"]["name"] == scene.job_of(pod))
    assert job["metadata"]["labels"][QUEUE_LABEL] == queue.name
    for spec in (job["spec"]["template"]["spec"], pod["spec"]):  # what Kueue wrote into it stays
        assert spec["nodeSelector"] == {f"{GPU}.present": "true"}
        assert {"key": GPU, "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]

    urgent = queue.interrupt(images[1])
    held(run, "insufficient unused quota")
    stored = {key: when for key, when in run.stored().items() if not key.startswith(APART)}
    queue.end(urgent)
    again = until(lambda: [one for one in run.running() if scene.job_of(one) == job["metadata"]["name"]])
    assert again[0]["metadata"]["uid"] != pod["metadata"]["uid"]

    until(lambda: job["metadata"]["name"] not in {one["metadata"]["name"] for one in run.jobs()})  # it is done
    assert stored.items() <= run.stored().items(), "what was stored stays as it was"
    assert child(run.lasting()).items() <= on_one_machine.objects().items()
    assert run.ledger().disrupted == {}, "what a queue takes away isn't counted"
    assert {"Queued", "Resumed"} <= set(told(run))
    assert "Stalled" not in told(run)


def test_two_runs_take_turns_on_one_gpu(queue: Queue, begin: Callable[..., Run]) -> None:
    runs = [begin(queue.name, parallelism=1, candidatesPerJob=1) for _ in range(2)]
    turns: dict[str, str] = {}  # by Job, in order: whose it was

    def enough() -> bool:
        now = {pod["metadata"]["labels"]["job-name"]: run.name for run in runs for pod in run.running("-score-")}
        assert len(now) <= 1, "one GPU, one Pod that has it"
        turns.update(now)
        return len(turns) >= 8

    until(enough, 600, 0.3)
    counted = Counter(turns.values())
    assert min(counted[run.name] for run in runs) >= 3, turns


def test_an_urgent_run_goes_before_one_that_isnt(
    queue: Queue, begin: Callable[..., Run], on_one_machine: World
) -> None:
    plain = begin(queue.name)
    until(lambda: plain.running("-score-"))
    urgent = begin(queue.name, priorityClassName=queue.urgent)
    until(lambda: [one for one in queue.workloads() if _says(one, "Preempted")])
    urgent.wait("Complete")
    assert not plain.condition("Complete")
    plain.wait("Complete")
    assert [child(run.lasting()) == child(on_one_machine.objects()) for run in (plain, urgent)] == [True, True]
    assert "Stalled" not in told(plain)


def test_a_suspended_run_gives_its_quota_back_and_goes_on_in_the_queue(
    queue: Queue, begin: Callable[..., Run], on_one_machine: World
) -> None:
    run = begin(queue.name)
    until(lambda: run.running("-score-"))
    until(lambda: queue.used() == 1)
    run.patch({"cluster": {"suspend": True}})
    until(lambda: not queue.workloads() and not queue.used())
    assert not run.jobs()
    run.patch({"cluster": {"suspend": False}})
    until(lambda: run.running("-score-") and queue.used() == 1)
    run.wait("Complete")
    assert child(run.lasting()) == child(on_one_machine.objects())


def test_what_waits_in_one_queue_moves_to_another_when_told_to(
    kubernetes: Kubernetes, queue: Queue, begin: Callable[..., Run]
) -> None:
    run = begin("nowhere")
    held(run, "LocalQueue nowhere doesn't exist")
    queue.change(stopPolicy="Hold")
    run.patch({"cluster": {"queueName": queue.name}})
    held(run, f"ClusterQueue {queue.name} is inactive")
    assert {job["metadata"]["labels"][QUEUE_LABEL] for job in run.jobs()} == {queue.name}
    queue.change(stopPolicy="None")
    until(lambda: run.running())


def test_a_run_whose_queue_may_not_be_read_is_queued_all_the_same(
    kubernetes: Kubernetes, operator: Operator, begin: Callable[..., Run]
) -> None:
    (role,) = (
        kubernetes.kinds.get(api_version="rbac.authorization.k8s.io/v1", kind="Role")
        .get(namespace=operator.namespace, label_selector=f"app.kubernetes.io/instance={operator.release}")
        .to_dict()["items"]
    )
    roles = kubernetes.kinds.get(api_version="rbac.authorization.k8s.io/v1", kind="Role")
    less = [rule for rule in role["rules"] if "workloads" not in rule["resources"]]
    name = role["metadata"]["name"]
    roles.patch({"rules": less}, name, operator.namespace, content_type=MERGE)
    try:
        held(begin("nowhere"), "spec.cluster.queueName")
        assert "workloads.kueue.x-k8s.io is forbidden" in operator.log()
    finally:
        roles.patch({"rules": role["rules"]}, name, operator.namespace, content_type=MERGE)


@pytest.fixture
def nobody_answers(kubernetes: Kubernetes) -> Iterator[Callable[[], None]]:
    """A webhook that is asked about every Job of ours, as Kueue's is, and isn't there; gives what takes it away."""
    kind = {"api_version": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    kinds = kubernetes.kinds.get(**kind)
    hook = {
        "name": "nobody.darwin.test",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
        "objectSelector": {"matchLabels": {QUEUE_LABEL: "nobody"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    name = "nobody.darwin.test"
    described = {"apiVersion": kind["api_version"], "kind": kind["kind"], "metadata": {"name": name}}
    kinds.create({**described, "webhooks": [hook]})
    yield lambda: kinds.delete(name=name)
    with contextlib.suppress(NotFoundError):
        kinds.delete(name=name)


def test_a_run_whose_jobs_wait_for_a_webhook_that_is_away_says_so_and_goes_on_when_it_is_back(
    nobody_answers: Callable[[], None], begin: Callable[..., Run]
) -> None:
    run = begin("nobody")
    stalled = run.wait("Stalled", 60)
    assert stalled["reason"] == "JobRefused"
    assert "failed calling webhook" in stalled["message"]
    nobody_answers()
    until(lambda: run.jobs() and not run.condition("Stalled"))


def _says(workload: Json, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in workload.get("status", {}).get("conditions") or [])

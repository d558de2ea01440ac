"""What is in a run's way is told in the API's own words, and gone once a person has mended it; nothing is lost by it.

The operator is installed for all namespaces here; elsewhere, for one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charts.alerts import STALLED
from darwinmerge_operator.resource import RETRY
from tests.cluster.conftest import RESTRICTED, Kubernetes, running, until
from tests.cluster.operated import GPU, Json, Operator, Run
from tests.cluster.overheard import WHATEVER_BECOMES_OF_IT, overheard
from tests.cluster.person import Person
from tests.clustered import edited
from tests.dashboarded import RULES
from tests.prometheus import scraping

pytestmark = pytest.mark.cluster

TOLD_SECONDS = 30  # within which a person is told
TEMPLATE = ("spec", "cluster", "template")
# What is wrong with the manifest; the reason; the API's words.
NO_TERMS: Json = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
# a cluster that scales may make such a node: nobody is told but where a person has set how long that may take
NO_NODE = {(*TEMPLATE, "nodeSelector"): {"gpu": "h900"}, ("spec", "cluster", "pendingDeadlineSeconds"): 5}
WAYS: dict[str, tuple[dict[Any, Any], str, str]] = {
    "no such Secret": (
        {("spec", "cluster", "store", "credentialsSecret", "name"): "nowhere"},
        "PodPending",
        'secret "nowhere" not found',
    ),
    "no such image": ({("spec", "cluster", "image"): "localhost/nowhere:1"}, "PodPending", "localhost/nowhere:1"),
    "no such node": (NO_NODE, "PendingDeadlineExceeded", "node affinity/selector"),
    "no such account": (
        {(*TEMPLATE, "serviceAccountName"): "nobody"},
        "PodRefused",
        'serviceaccount "nobody" not found',
    ),
    "no quota": ({("spec", "cluster", "stages", "other", "resources", "limits"): {GPU: 1}}, "PodRefused", "quota"),
    "no valid Job": ({(*TEMPLATE, "affinity"): NO_TERMS}, "JobRefused", "must have at least one node selector term"),
}


@pytest.fixture(scope="module")
def operator(kubernetes: Kubernetes, merges: Any, namespace: str, images: tuple[str, str]) -> Iterator[Operator]:
    """One for all namespaces."""
    found = Operator(kubernetes, namespace, "everywhere")
    found.install(*images, "watchNamespaces=null")
    yield found
    found.uninstall()


@pytest.fixture
def begin(operator: Operator, furnished: str, small_run: Callable[[str], Run]) -> Iterator[Callable[..., Run]]:
    """Applies the small experiment with a mistake."""
    made: list[Run] = []

    def apply(mistake: dict[Any, Any], namespace: str = furnished) -> Run:
        name = f"stalled-{len(made)}-{time.monotonic_ns()}"
        plain = small_run(name)
        given = edited(plain.document, {"metadata.name": name, **mistake})
        run = replace(plain, namespace=namespace, document=given)
        run.apply()
        made.append(run)
        return run

    with overheard(operator.kubernetes, furnished) as heard:
        yield apply
    try:
        for run in made:
            heard.assert_no_secret(run, WHATEVER_BECOMES_OF_IT if run.namespace == furnished else ())
    finally:
        for run in made:
            run.delete()


@pytest.fixture(scope="module")
def no_gpus(kubernetes: Kubernetes, furnished: str) -> Iterator[None]:
    """No Pod may ask for a GPU in the namespace, until other tests' may."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}}
    kubernetes.create({**quota, "spec": {"hard": {f"requests.{GPU}": "0"}}}, furnished)
    yield
    kubernetes.of("ResourceQuota").delete("gpus", furnished)


@pytest.mark.usefixtures("no_gpus")
@pytest.mark.parametrize("way", WAYS)
def test_what_is_in_the_way_is_told_in_the_apis_words(begin: Callable[..., Run], way: str) -> None:
    mistake, reason, words = WAYS[way]
    run = begin(mistake)
    stalled = run.wait("Stalled", TOLD_SECONDS)
    assert (stalled["reason"], words in stalled["message"]) == (reason, True), stalled
    assert run.status()["phase"] == "Stalled"
    (event,) = [event for event in run.events() if event["reason"] == "Stalled"]
    assert (event["type"], words in event["message"]) == ("Warning", True)


def test_prometheus_has_the_reason_and_the_alert_is_on_its_way(
    operator: Operator, begin: Callable[..., Run], tmp_path: Path
) -> None:
    mistake, reason, _ = WAYS["no valid Job"]
    with scraping(operator.port, tmp_path, RULES) as prometheus:
        run = begin(mistake)
        run.wait("Stalled", TOLD_SECONDS)
        labels = (("name", run.name), ("namespace", run.namespace), ("reason", reason))
        assert until(lambda: prometheus.query(STALLED).get(labels)) == 1
        alert = f'ALERTS{{alertname="DarwinMergeStalled",alertstate="pending",name="{run.name}"}}'
        (found,) = until(lambda: prometheus.query(alert))
        assert dict(found)["reason"] == reason


def test_a_namespace_that_takes_no_such_pod_says_so(
    begin: Callable[..., Run], make_namespace: Callable[..., str]
) -> None:
    if not running():
        pytest.skip("this cluster's Pods are restricted, so nothing of ours is refused for it")
    strict = make_namespace({**running(), RESTRICTED: "restricted"})  # whose cluster gives Pods the host's network
    stalled = begin({}, strict).wait("Stalled", TOLD_SECONDS)
    assert stalled["reason"] == "PodRefused"
    assert "violates PodSecurity" in stalled["message"]


def test_a_node_that_may_come_is_waited_for(begin: Callable[..., Run]) -> None:
    run = begin({(*TEMPLATE, "nodeSelector"): {"gpu": "h900"}})
    until(lambda: run.status().get("phase") == "Pending", TOLD_SECONDS)
    ready = run.condition("Ready")
    assert "waits for a node" in ready["message"] and "node affinity/selector" in ready["message"]
    assert not run.condition("Stalled")


def test_a_mended_spec_goes_on_without_more_ado(begin: Callable[..., Run]) -> None:
    run = begin(NO_NODE)
    run.wait("Stalled", TOLD_SECONDS)
    run.patch({"cluster": {"template": {"nodeSelector": None}, "pendingDeadlineSeconds": None}})
    until(lambda: not run.condition("Stalled") and run.running())
    assert "Resumed" not in {event["reason"] for event in run.events()}


def test_what_was_mended_elsewhere_goes_on_when_asked_to(begin: Callable[..., Run]) -> None:
    run = begin({("spec", "parents", "father", "uri"): "s3://darwin/parents/nobody"})
    stalled = run.wait("Stalled")
    assert stalled["reason"] == "BadInput"
    assert "s3://darwin/parents/nobody" in stalled["message"]
    tries = {job["metadata"]["name"] for job in run.jobs()}
    copy_parent(run)
    assert "another try was asked for" in Person(run.namespace, {}).told("retry", run.name)
    until(lambda: not run.condition("Stalled") and {job["metadata"]["name"] for job in run.jobs()} - tries)
    assert run.status()["lastHandledRetryAt"] == run.found()["metadata"]["annotations"][RETRY]
    until(lambda: run.status()["phase"] not in ("Resolving", "Starting"))


def copy_parent(run: Run) -> None:
    """Father to where the manifest says that he is."""
    for one in run.bucket.list_objects_v2(Bucket="darwin", Prefix="parents/father/")["Contents"]:
        name = one["Key"].replace("father", "nobody")
        run.bucket.copy_object(Bucket="darwin", Key=name, CopySource={"Bucket": "darwin", "Key": one["Key"]})


def test_a_deleted_run_takes_all_with_it_leaves_the_store_alone_and_can_come_again(begin: Callable[..., Run]) -> None:
    run = begin({})
    until(lambda: run.running("-mri-"))
    stored = run.stored()
    run.delete()
    until(lambda: not run.left())
    assert stored.items() <= run.stored().items()
    run.apply()
    until(lambda: [pod for pod in run.running() if "-recall-" not in pod["metadata"]["name"]])  # MRI may be done by now

"""What can befall a run, each a function that waits until it may strike, and strikes once.

What must be so afterwards is in the tests: whatever befell it, a run ends as if nothing had.
"""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kubernetes.dynamic.exceptions import DynamicApiError
from urllib3.exceptions import HTTPError

from darwinmerge_operator.crd import crd
from darwinmerge_operator.job import LABEL
from darwinmerge_operator.resource import RETRY
from tests.cluster.conftest import Kubernetes, named, until
from tests.cluster.operated import Json, Operator, Run, kill

S3_AWAY_SECONDS = 20
TWO_OPERATORS_SECONDS = 60
API_AWAY_SECONDS = 15
NODE_LOST_SECONDS = 600  # for its Pods to be evicted: by default, Kubernetes waits for five minutes
HEARTBEAT_SECONDS = 3.0
STAGES = {"resolve", "mri", "score", "export", "health", "verdict", "publish", "finish"}  # and what runs beside them
GRACE_SECONDS, SLACK_SECONDS = 30, 15  # a Pod's, and what a busy machine takes besides
SUSPENSIONS = 20
TOO_LITTLE, ENOUGH = "40Mi", "2Gi"  # of memory: Python with numpy and boto3 needs more than the one


@dataclass(frozen=True)
class Scene:
    """A run that goes on, and what can be done to it."""

    kubernetes: Kubernetes
    run: Run
    operator: Operator
    second: Operator  # not installed
    images: tuple[str, str]  # the operator's and the workers'
    told: dict[str, object] = field(default_factory=dict)  # for the table of faults
    kept: dict[str, str] = field(default_factory=dict)  # of what was stored at some moment, when it first was

    def at_work(self, stage: str = "-score-") -> Json:
        """A Pod of a stage that has stored something, and not yet all."""

        def found() -> Json | None:
            before = self.chunks()
            time.sleep(0.2)
            assert not self.run.condition("Complete"), "the run is over before all of it could befall it"
            pods = self.run.running(stage)
            return pods[0] if pods and self.chunks() > before else None

        return until(found, 300) or {}

    def stages(self) -> Iterator[Json]:
        """A Pod of each stage, as soon as one runs, until the run is over; whatever befalls it befalls all."""
        struck: set[str] = set()

        def found() -> list[Json] | bool:
            new = [pod for pod in self.run.running() if _stage(pod) not in struck]
            return new or bool(self.run.condition("Complete"))

        while isinstance(pods := until(found, 300, 0.2), list):
            struck.update(map(_stage, pods))
            yield pods[0]
        assert struck >= STAGES, struck
        self.told["told"] = f"in {', '.join(sorted(struck))}"

    def keep(self) -> None:
        """Remember what is stored: none of it may be computed again."""
        for key, when in self.run.stored().items():
            self.kept.setdefault(key, when)

    def chunks(self) -> int:
        """How many pieces of evaluations are stored."""
        return sum(key.startswith("scores/") for key in self.run.stored())

    def job_of(self, pod: Json) -> str:
        return str(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])

    def limit(self, memory: str) -> None:
        """Give benchmarks so much memory, from the next Job on."""
        share = {"limits": {"memory": memory}, "requests": {"cpu": "250m"}}
        self.run.patch({"cluster": {"stages": {"eval": {"resources": share}}}})

    def program(self, verb: str, name: str) -> None:
        """Kill or start a program of the cluster."""
        subprocess.run([named("DARWIN_CLUSTER"), verb, named("DARWIN_CLUSTER_DIR"), name], check=True)

    def answers(self) -> bool:
        """Whether the API server does."""
        try:
            return bool(self.run.found())
        except (DynamicApiError, HTTPError, OSError):
            return False

    def another_operator(self) -> float:
        """Install it; when that was."""
        self.second.install(*self.images)
        return time.monotonic()

    def one_operator(self, began: float) -> None:
        """Take the second away again, a minute after it came."""
        time.sleep(max(0.0, began + TWO_OPERATORS_SECONDS - time.monotonic()))
        self.second.uninstall()


def _stage(pod: Json) -> str:
    return str(pod["metadata"]["labels"][f"{LABEL}/stage"])


def operator_killed(scene: Scene) -> None:
    """SIGKILL, while workers work."""
    scene.at_work()
    before = scene.operator.restarts()
    (pod,) = scene.operator.pods()
    kill(pod)
    until(lambda: scene.operator.restarts() > before)


def worker_deleted(scene: Scene) -> None:
    """By a person; it has its grace period."""
    pod = scene.at_work()
    scene.kubernetes.of("Pod").delete(pod["metadata"]["name"], scene.run.namespace)


def worker_evicted(scene: Scene) -> None:
    """As when a node is drained."""
    pod = scene.at_work()
    name, namespace = pod["metadata"]["name"], scene.run.namespace
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    scene.kubernetes.of("Pod").subresources["eviction"].create(body, name=name, namespace=namespace)


def worker_killed(scene: Scene) -> None:
    """SIGKILL, which is the fault of nobody who'd say so."""
    kill(scene.at_work())


def out_of_memory(scene: Scene) -> None:
    """Benchmarks have too little memory: the run stalls, is given more, and goes on."""
    scene.at_work()  # of the Job that has enough; the next one hasn't
    scene.limit(TOO_LITTLE)
    stalled = scene.run.wait("Stalled")
    assert stalled["reason"] == "OutOfMemory", stalled
    assert "memory limit" in stalled["message"]
    scene.limit(ENOUGH)  # a change of spec is another chance
    until(lambda: not scene.run.condition("Stalled"))


def s3_away(scene: Scene) -> None:
    """The store doesn't answer for a while; if all attempts fell into it, a person asks for another."""
    scene.at_work()
    scene.run.server.server.stop()
    time.sleep(S3_AWAY_SECONDS)
    scene.run.server.server.start()
    known = scene.chunks()
    until(lambda: scene.run.condition("Stalled") or scene.chunks() > known or scene.run.condition("Complete"))
    if stalled := scene.run.condition("Stalled"):
        assert stalled["reason"] == "StoreUnreachable", stalled
        scene.run.patch(annotations={RETRY: "1"})
        until(lambda: scene.run.status()["lastHandledRetryAt"] == "1" and not scene.run.condition("Stalled"))


def ledger_deleted(scene: Scene) -> None:
    """What the operator remembers is gone; the store knows it all."""
    scene.at_work()
    scene.kubernetes.of("ConfigMap").delete(f"{scene.run.name}.ledger", scene.run.namespace)


def operator_away(scene: Scene) -> None:
    """Jobs finish while nobody listens."""
    job = scene.job_of(scene.at_work())
    scene.operator.scale(0)
    until(
        lambda: any(one["metadata"]["name"] == job and one["status"].get("completionTime") for one in scene.run.jobs())
    )
    scene.operator.scale(1)


def two_operators(scene: Scene) -> None:
    """For a minute, as when a node is lost and comes back: each believes to be the only one."""
    began = scene.another_operator()
    scene.at_work()
    scene.one_operator(began)


def suspended(scene: Scene) -> None:
    """A person needs the GPUs for a while."""
    scene.at_work()
    scene.run.patch({"cluster": {"suspend": True}})
    until(lambda: scene.run.condition("Suspended") and not scene.run.jobs())
    scene.run.patch({"cluster": {"suspend": False}})


def suspended_often(scene: Scene) -> None:
    """Twenty times, whatever is done at that moment; and its GPUs are free within the grace period."""
    dice, took = random.Random(1), []
    for _ in range(SUSPENSIONS):
        time.sleep(dice.uniform(0.5, 8.0))
        assert not scene.run.condition("Complete"), "the run is over before all of it could befall it"
        scene.run.patch({"cluster": {"suspend": True}})
        began = time.monotonic()
        until(lambda: scene.run.condition("Suspended") and not scene.run.pods(), GRACE_SECONDS + SLACK_SECONDS)
        took.append(time.monotonic() - began)
        scene.run.patch({"cluster": {"suspend": False}})
        until(lambda: scene.run.running())
    scene.told["told"] = (
        f"no Pod was left after {sorted(took)[len(took) // 2]:.1f} s (median), {max(took):.1f} s (most)"
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def another_node(kubernetes: Kubernetes) -> Iterator[None]:
    """A Node that is in good health and takes no Pods: of none but lost ones, Kubernetes evicts nothing."""
    name, there = "in-good-health", "kube-node-lease"
    taint = {"key": "darwinmerge.io/pretended", "effect": "NoSchedule"}
    kubernetes.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": [taint]}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pretended"}
    status = {"status": {"conditions": [ready]}}
    merge = {"content_type": "application/merge-patch+json"}
    kubernetes.of("Node").subresources["status"].patch(status, name=name, **merge)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
    held = {
        "holderIdentity": name,
        "leaseDurationSeconds": 40,
        "renewTime": _now(),
    }  # one never renewed stays so, there
    kubernetes.create({**lease, "spec": held}, there)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            kubernetes.of("Lease").patch({"spec": {"renewTime": _now()}}, name, there, **merge)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()
        kubernetes.of("Lease").delete(name, there)
        kubernetes.of("Node").delete(name)


def node_lost(scene: Scene) -> None:
    """Its kubelet is gone: Pods are evicted and never end, the next ones have no node; and then it is back.

    The operator stays, as on the other node, where nothing runs here.
    """
    scene.operator.install(*scene.images, "tolerations[0].operator=Exists")
    with another_node(scene.kubernetes):
        _lose_the_node_of(scene, scene.at_work())
    until(lambda: scene.run.status()["phase"] != "Pending", 300)


def node_lost_in_every_stage(scene: Scene) -> None:
    """Each time until what it was at is evicted; and what comes in its place has the node that is back."""
    scene.operator.install(*scene.images, "tolerations[0].operator=Exists")
    with another_node(scene.kubernetes):
        for pod in scene.stages():
            scene.keep()
            _lose_the_node_until_it_is_left_by(scene, pod)


def _lose_the_node_until_it_is_left_by(scene: Scene, pod: Json) -> None:
    scene.program("kill", "kubelet")
    try:
        until(lambda: scene.run.leaving(pod), NODE_LOST_SECONDS, 1)
    finally:
        scene.program("start", "kubelet")


def _lose_the_node_of(scene: Scene, pod: Json) -> None:
    scene.program("kill", "kubelet")
    try:
        began = time.monotonic()
        until(lambda: scene.run.leaving(pod), NODE_LOST_SECONDS, 1)
        evicted = time.monotonic() - began
        until(lambda: scene.run.status()["phase"] == "Pending", NODE_LOST_SECONDS, 1)
        scene.told["told"] = f"evicted after {evicted:.0f} s, told after {time.monotonic() - began:.0f} s"
        assert "untolerated taint" in scene.run.condition("Ready")["message"]
        assert not scene.run.condition("Stalled")
        attempts = {int(job["metadata"]["labels"]["darwinmerge.io/attempt"]) for job in scene.run.jobs()}
        assert max(attempts) > 1  # beside the one that may still be at work
    finally:
        scene.program("start", "kubelet")


def api_server_restarted_in_every_stage(scene: Scene) -> None:
    """It is away for a while: nobody is told anything, and an operator that waits is in good health."""
    restarts = scene.operator.restarts()
    for _ in scene.stages():
        scene.keep()
        scene.program("kill", "kube-apiserver")
        time.sleep(API_AWAY_SECONDS)
        scene.program("start", "kube-apiserver")
        until(scene.answers)
    assert scene.operator.restarts() == restarts


def upgraded(scene: Scene) -> None:
    """A CRD with more fields, which have defaults; then another operator, whose workers have another image."""
    scene.at_work()
    newer = crd()
    (version,) = newer["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for section in ("mri", "cluster"):
        fields[section]["properties"]["future"] = {"type": "string", "default": "as before"}
        fields[section]["default"] = {}
    scene.kubernetes.apply(newer)
    until(lambda: scene.run.found()["spec"].get("mri", {}).get("future"))
    operator, worker = scene.images
    scene.operator.install(operator, worker + "-of-the-next-version", "log.level=debug")
    scene.at_work()
    assert scene.run.status()["image"] == worker


Fault = Callable[[Scene], None]
FAULTS: tuple[Fault, ...] = (
    worker_deleted,
    worker_evicted,
    worker_killed,
    suspended,
    suspended_often,
    ledger_deleted,
    out_of_memory,
    s3_away,
    operator_killed,
    operator_away,
    two_operators,
    upgraded,
    api_server_restarted_in_every_stage,
    node_lost,
    node_lost_in_every_stage,
)


def everything(scene: Scene) -> None:
    """All of it in one run, one after the other."""
    began = scene.another_operator()
    for fault in (worker_deleted, worker_evicted, suspended, ledger_deleted, out_of_memory, worker_killed):
        fault(scene)
    scene.one_operator(began)
    for fault in (upgraded, operator_killed, s3_away, operator_away):
        fault(scene)


TWO_OPERATORS: tuple[Fault, ...] = (two_operators, everything)  # ask the API server at a time

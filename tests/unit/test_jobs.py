"""What a Job's manifest says, and what a Pod's end means."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.kinds import KindRule
from darwinmerge.experiment.manifest import BenchmarkTask, Merge, Mri
from darwinmerge.merge.recipe import Mixing, Pins
from darwinmerge.pipeline.orders import Failure, Message, Order, Orders, Part, encode, order
from darwinmerge.pipeline.tasks import REVISIONS, ChildModel, MriInputs, ResolveInputs, ScoreInputs, Task, Terms
from darwinmerge.search.genome import Genome
from darwinmerge_operator.ending import Ending, ending
from darwinmerge_operator.job import NAME_LETTERS, Owner, PodSettings, job, job_name, scratch_bytes

WHERE = Bindings(father="s3://models/father", mother="s3://models/mother", store="s3://runs/tiny", task_folder="/tasks")
POD = PodSettings(image="registry.example/darwin-gpu:1", gpus=1, secret="s3", task_files="tasks")
RESOLVE = Task(revision=REVISIONS["resolve"], seed=0, inputs=ResolveInputs())
PINS = Pins(father="f", mother="m")
OWNER = Owner(api_version="darwinmerge.io/v1alpha1", kind="DarwinMerge", name="tiny", uid="7d3c")


def score(generation: int = 0, index: int = 0) -> Task:
    genome = Genome(ratio=0.5, attn=0.5, ffn=0.5, embed=0.5, density_a=1.0, density_b=0.5)
    terms = Terms(tasks=(BenchmarkTask(name="arc_easy"),), dtype="auto", batch_size=16, chunk=64, threads=2)
    inputs = ScoreInputs(
        pins=PINS,
        table="t",
        rows="r",
        sets=("search",),
        mixing=Mixing(mri_weight=0.7, merge=Merge()),
        terms=terms,
        model=ChildModel(genome=genome),
        generation=generation,
        index=index,
        genomes=(genome,) * (index + 1) if generation else (),
    )
    return Task(revision=REVISIONS["score"], seed=0, inputs=inputs)


def to_do(*orders: Order, where: Bindings = WHERE) -> Orders:
    return Orders(where=where, orders=orders or (order(RESOLVE),))


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod_of(manifest)["containers"]
    return dict(found)


def value_of(manifest: dict[str, Any], name: str) -> str:
    """A variable as the container sees it: `$$` is one dollar to a kubelet."""
    (value,) = [v["value"] for v in container_of(manifest)["env"] if v["name"] == name]
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", value), "a kubelet would replace this"
    return str(value).replace("$$", "$")


# Names


@given(
    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,34}[a-z0-9])?", fullmatch=True),
    st.integers(0, 1000),
    st.integers(0, 47),
    st.sampled_from(("all", "merge", "evaluate")),
    st.integers(1, 999),
)
def test_every_name_is_a_dns_label_that_leaves_room_for_a_pods(
    experiment: str, generation: int, index: int, part: Part, attempt: int
) -> None:
    name = job_name(experiment, to_do(order(score(generation, index), part)), attempt)
    assert len(name) <= NAME_LETTERS
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


def test_a_name_says_what_the_job_does() -> None:
    assert re.fullmatch(r"tiny-g03-c07-merge-[0-9a-f]{8}-2", job_name("tiny", to_do(order(score(3, 7), "merge")), 2))
    assert re.fullmatch(r"tiny-g03-c07-eval-[0-9a-f]{8}-1", job_name("tiny", to_do(order(score(3, 7), "evaluate")), 1))
    assert re.fullmatch(r"tiny-g03-c07-score-[0-9a-f]{8}-1", job_name("tiny", to_do(order(score(3, 7))), 1))
    assert re.fullmatch(r"tiny-resolve-[0-9a-f]{8}-1", job_name("tiny", to_do(), 1))


def test_what_differs_has_another_name_and_what_is_the_same_has_the_same() -> None:
    other = OWNER.model_copy(update={"uid": "another"})
    names = {
        job_name("tiny", to_do(*orders), attempt, owner)
        for orders, attempt, owner in product(
            ((order(score(1, 0)),), (order(score(1, 0)), order(RESOLVE)), (order(score()),), (order(RESOLVE),)),
            (1, 2),
            (None, OWNER, other),
        )
    }
    assert len(names) == 4 * 2 * 3
    assert job_name("tiny", to_do(), 1, OWNER) == job_name("tiny", to_do(), 1, OWNER)


def test_a_long_name_is_cut_before_what_tells_jobs_apart() -> None:
    one, other = (job_name("x" * 36, to_do(order(score(1000, index), "merge")), 12) for index in (8, 9))
    assert one.startswith("x")
    assert "-g1000-c08-merge-" in one
    assert one != other


# The manifest


def test_only_what_nobody_is_to_blame_for_is_ignored_and_a_disruption_is_asked_first() -> None:
    spec = job("tiny", to_do(), 1, POD)["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == [75]
    assert rules[2]["onExitCodes"]["values"] == [65, 76, 78]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    assert pod_of(job("tiny", to_do(), 1, POD))["restartPolicy"] == "Never"


def test_a_pod_has_no_rights_but_to_its_scratch() -> None:
    manifest = job("tiny", to_do(), 1, POD)
    pod, container = pod_of(manifest), container_of(manifest)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/scratch", "/dev/shm"}


def test_what_is_requested_is_the_limit_and_gpus_only_where_asked_for() -> None:
    resources = container_of(job("tiny", to_do(), 1, POD))["resources"]
    assert resources["limits"] == {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert resources["limits"].items() <= resources["requests"].items()
    without = container_of(job("tiny", to_do(), 1, POD.model_copy(update={"gpus": 0})))["resources"]
    assert "nvidia.com/gpu" not in without["limits"] | without["requests"]


def test_scratch_holds_both_parents_and_is_asked_of_the_node() -> None:
    size = 70 << 30
    manifest = job("tiny", to_do(), 1, POD, parent_bytes=size)
    scratch, memory = pod_of(manifest)["volumes"][:2]
    assert int(scratch["emptyDir"]["sizeLimit"]) == scratch_bytes(size) > size
    assert container_of(manifest)["resources"]["requests"]["ephemeral-storage"] == scratch["emptyDir"]["sizeLimit"]
    assert memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_orders_reach_the_worker_letter_for_letter() -> None:
    kinds = (KindRule(pattern=r"\$(HOME)$|a$$b|$$$(USER)", kind="attention"),)
    task = Task(revision=REVISIONS["mri"], seed=0, inputs=MriInputs(pins=PINS, mri=Mri(kinds=kinds)))
    manifest = job("tiny", to_do(order(task)), 1, POD)
    read = Orders.model_validate_json(value_of(manifest, "DARWIN_ORDERS"))
    assert read == to_do(order(task))
    assert read.orders[0].task.id == read.orders[0].id
    assert container_of(manifest)["args"] == ["work"]


def test_more_orders_than_a_variable_holds_are_refused() -> None:
    with pytest.raises(BadConfiguration, match="give them to several pods"):
        job("tiny", to_do(*[order(RESOLVE)] * 2000), 1, POD)


def test_credentials_are_only_named() -> None:
    pod = POD.model_copy(update={"environment": {"AWS_REGION": "eu-central-1"}})
    manifest = job("tiny", to_do(), 1, pod)
    assert container_of(manifest)["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert value_of(manifest, "AWS_REGION") == "eu-central-1"
    assert "envFrom" not in container_of(job("tiny", to_do(), 1, PodSettings(image="x")))


def test_a_claim_is_mounted_once_and_read_only() -> None:
    places = {"father": "pvc://models/father", "mother": "pvc://models/deep/mother"}
    manifest = job("tiny", to_do(where=WHERE.model_copy(update=places)), 1, POD)
    claims = [v for v in pod_of(manifest)["volumes"] if "persistentVolumeClaim" in v]
    assert [claim["persistentVolumeClaim"] for claim in claims] == [{"claimName": "models", "readOnly": True}]
    (mount,) = [m for m in container_of(manifest)["volumeMounts"] if m["name"] == claims[0]["name"]]
    assert mount["mountPath"] == "/mnt/pvc/models"
    assert mount["readOnly"] is True


def test_task_files_lie_where_the_orders_look_for_them() -> None:
    mounts = container_of(job("tiny", to_do(), 1, POD))["volumeMounts"]
    assert {"name": "task-files", "mountPath": "/tasks", "readOnly": True} in mounts


def test_an_owner_is_named_only_where_there_is_one() -> None:
    assert "ownerReferences" not in job("tiny", to_do(), 1, POD)["metadata"]
    (reference,) = job("tiny", to_do(), 1, POD, owner=OWNER)["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "name": "tiny",
        "uid": "7d3c",
        "controller": True,
        "blockOwnerDeletion": False,
    }


def test_job_and_pods_can_be_found_by_experiment_stage_and_task() -> None:
    manifest = job("tiny", to_do(order(score(3, 7), "merge")), 2, POD)
    labels = manifest["metadata"]["labels"]
    assert manifest["spec"]["template"]["metadata"]["labels"] == labels
    assert labels["darwinmerge.io/experiment"] == "tiny"
    assert labels["darwinmerge.io/stage"] == "merge"
    assert labels["darwinmerge.io/attempt"] == "2"
    assert score(3, 7).id.startswith(labels["darwinmerge.io/task"])
    assert all(len(value) <= 63 for value in labels.values())


# The end of a pod

FULL = 'Usage of EmptyDir volume "scratch" exceeds the limit "4Gi". '
PRESSURE = (
    "The node was low on resource: memory. Container worker was using 9Gi, request is 8Gi, has larger consumption."
)
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API"}
DONE = encode([None]).decode()
FAILED = encode([], Failure(task="t", exit=ExitCode.BAD_INPUT, message="father: gone")).decode()


def ended(
    phase: str, exit: int | None = None, message: str = "", why: str = "Error", status: Mapping[str, Any] | None = None
) -> Ending:
    terminated = {"exitCode": exit, "reason": why, "message": message}
    containers = [] if exit is None else [{"name": "worker", "state": {"terminated": terminated}}]
    found = ending({"status": {"phase": phase, "containerStatuses": containers, **(status or {})}})
    assert found
    return found


def test_a_pod_that_runs_has_not_ended() -> None:
    assert ending({"status": {"phase": "Running"}}) is None
    assert ending({}) is None


def test_a_result_is_exit_code_0_with_a_valid_message() -> None:
    assert ended("Succeeded", 0, DONE) == Ending(reason="Done", exit=ExitCode.OK, text="", message=Message(told=1))


@pytest.mark.parametrize("message", ["", "all went well", '{"told": "many"}', DONE[:-1], FAILED])
def test_exit_code_0_with_anything_else_is_no_result(message: str) -> None:
    found = ended("Succeeded", 0, message)
    assert (found.reason, found.exit) == ("Malformed", ExitCode.INTERNAL)


def test_the_worker_says_why_it_failed() -> None:
    found = ended("Failed", 65, FAILED)
    assert (found.reason, found.exit, found.text) == ("ExitCode", ExitCode.BAD_INPUT, "father: gone")


def test_a_worker_that_left_no_message_has_its_last_words() -> None:
    found = ended("Failed", 70, "Traceback\n  ...\nKeyError: 'x'\n")
    assert (found.reason, found.exit) == ("ExitCode", ExitCode.INTERNAL)
    assert "KeyError: 'x'" in found.text


def test_results_of_orders_before_the_failure_are_kept() -> None:
    message = encode([None, None], Failure(task="t", exit=ExitCode.INTERRUPTED, message="stopped")).decode()
    found = ended("Failed", 75, message)
    assert found.exit == ExitCode.INTERRUPTED
    assert found.message and found.message.told == 2


def test_causes_come_in_the_order_of_who_knows_best() -> None:
    evicted = {"reason": "Evicted", "message": PRESSURE, "conditions": [DISRUPTED]}
    assert ended("Failed", 137, "", "OOMKilled", evicted).reason == "OOMKilled"
    assert ended("Failed", 70, FAILED, status=evicted).reason == "Evicted"
    assert ended("Failed", 70, FAILED, status={"conditions": [DISRUPTED]}).reason == "DisruptionTarget"
    assert ended("Failed", 70, FAILED).reason == "ExitCode"
    assert ended("Failed").reason == "Malformed"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"reason": "Evicted", "message": FULL}, ExitCode.OUT_OF_DISK),
        ({"reason": "Evicted", "message": PRESSURE, "conditions": [DISRUPTED]}, ExitCode.INTERRUPTED),
        ({"reason": "Evicted", "message": "Pod was rejected: The node had condition: [DiskPressure]. "}, 75),
        ({"conditions": [DISRUPTED]}, ExitCode.INTERRUPTED),
        ({"conditions": [{**DISRUPTED, "status": "False"}]}, ExitCode.INTERNAL),
    ],
)
def test_only_a_pods_own_fault_counts_against_it(status: dict[str, Any], code: int) -> None:
    assert ended("Failed", 143, status=status).exit == code


def test_a_kill_that_nobody_owns_to_is_taken_for_lack_of_memory() -> None:
    assert ended("Failed", 137).exit == ExitCode.OUT_OF_MEMORY
    assert ended("Failed", 137, why="OOMKilled").exit == ExitCode.OUT_OF_MEMORY

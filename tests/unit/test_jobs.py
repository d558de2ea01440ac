"""What a Job's manifest says, and what a Pod's end means."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.experiment.experiment import Bindings, Limits
from darwinmerge.experiment.kinds import KindRule
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Mixing, Pins
from darwinmerge.pipeline.orders import Failure, Message, Order, Orders, Part, encode, order
from darwinmerge.pipeline.retry import Attempt, GiveUp, retry
from darwinmerge.pipeline.tasks import REVISIONS, ChildModel, MriInputs, ResolveInputs, ScoreInputs, Task, Terms
from darwinmerge.search.genome import Genome
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.ending import Ending, ending
from darwinmerge_operator.job import NAME_LETTERS, Owner, Start, job, job_name, scratch_bytes
from darwinmerge_operator.status import REASONS

WHERE = Bindings(father="s3://models/father", mother="s3://models/mother", store="s3://runs/tiny", task_folder="/tasks")
TASKS = {"name": "tasks", "mountPath": "/tasks", "readOnly": True}
CLUSTER: dict[str, Any] = {
    "store": {"credentialsSecret": {"name": "s3"}},
    "template": {
        "resources": {"limits": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": 1}},
        "volumes": [{"name": "tasks", "configMap": {"name": "tasks"}}],
        "volumeMounts": [TASKS],
    },
}
RESOLVE = Task(revision=REVISIONS["resolve"], seed=0, inputs=ResolveInputs())
PINS = Pins(father="f", mother="m")
OWNER = Owner(name="tiny", uid="5c3a8f6e-0000-4000-8000-000000000000")


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


def start(*orders: Order, where: Bindings = WHERE, attempt: int = 1) -> Start:
    todo = to_do(*orders, where=where)
    first = todo.orders[0]
    stage = {"merge": "merge", "evaluate": "eval"}.get(first.part, first.task.stage)
    return Start(verb="work", stage=stage, part=first.part, orders=todo, attempt=attempt)


RECALL = Start(verb="recall", stage="recall", part="recall", orders=to_do(order(score(3, 7))), attempt=1)
FINISH = Start(verb="work", stage="finish", part="finish", orders=Orders(where=WHERE), attempt=1)


Json = dict[str, Any]


def made(one: Start | None = None, parent_bytes: int = 0, **cluster: Any) -> Json:
    return job(one or start(), OWNER, Cluster.model_validate(CLUSTER | cluster), "registry.example/gpu:1", parent_bytes)


def templated(**template: Any) -> dict[str, Any]:
    return made(template={**CLUSTER["template"], **template})


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def volume_of(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [volume for volume in pod_of(manifest)["volumes"] if volume["name"] == name]
    return dict(found)


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
    owner = Owner(name=experiment, uid="u")
    name = job_name(start(order(score(generation, index), part), attempt=attempt), owner)
    assert len(name) <= NAME_LETTERS
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


@pytest.mark.parametrize(
    ("one", "pattern"),
    [
        (start(order(score(3, 7), "merge"), attempt=2), "tiny-g03-c07-merge-[0-9a-f]{8}-2"),
        (start(order(score(3, 7), "evaluate")), "tiny-g03-c07-eval-[0-9a-f]{8}-1"),
        (start(order(score(3, 7))), "tiny-g03-c07-score-[0-9a-f]{8}-1"),
        (start(), "tiny-resolve-[0-9a-f]{8}-1"),
        (RECALL, "tiny-recall-[0-9a-f]{8}-1"),
        (FINISH, "tiny-finish-[0-9a-f]{8}-1"),
    ],
)
def test_a_name_says_what_the_job_does(one: Start, pattern: str) -> None:
    assert re.fullmatch(pattern, job_name(one, OWNER))


def test_what_differs_has_another_name_and_what_is_the_same_has_the_same() -> None:
    other = Owner(name="tiny", uid="another")
    names = {
        job_name(start(*orders, attempt=attempt), owner)
        for orders, attempt, owner in product(
            ((order(score(1, 0)),), (order(score(1, 0)), order(RESOLVE)), (order(score()),), (order(RESOLVE),)),
            (1, 2),
            (OWNER, other),
        )
    }
    assert len(names) == 4 * 2 * 2
    assert job_name(start(), OWNER) == job_name(start(), OWNER)


def test_a_long_name_is_cut_before_what_tells_jobs_apart() -> None:
    long = Owner(name="x" * 36, uid="u")
    one, other = (job_name(start(order(score(1000, index), "merge"), attempt=12), long) for index in (8, 9))
    assert one.startswith("x")
    assert "-g1000-c08-merge-" in one
    assert one != other


# The manifest


def test_only_what_nobody_is_to_blame_for_is_ignored_and_a_disruption_is_asked_first() -> None:
    spec = made()["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == [75]
    assert rules[2]["onExitCodes"]["values"] == [65, 76, 78]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    assert pod_of(made())["restartPolicy"] == "Never"


def test_a_pod_has_no_rights_but_to_its_scratch() -> None:
    pod, container = pod_of(made()), container_of(made())
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


@pytest.mark.parametrize(
    ("given", "chosen"),
    [({}, {}), ({"runAsUser": 2000, "fsGroup": 3000}, {"runAsUser": 2000, "fsGroup": 3000})],
)
def test_a_person_chooses_the_user_or_leaves_it_to_the_cluster_but_never_root(
    given: dict[str, int], chosen: dict[str, int]
) -> None:
    never = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod_of(templated(securityContext=given))["securityContext"] == never | chosen


def test_what_is_requested_is_the_limit_and_gpus_are_for_benchmarks() -> None:
    resources = container_of(made(start(order(score(1, 0)))))["resources"]
    assert resources["limits"] == {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": 1}
    assert resources["limits"].items() <= resources["requests"].items()
    other = container_of(made())["resources"]
    assert "nvidia.com/gpu" not in other["limits"] | other["requests"]


def test_what_a_person_leaves_out_is_modest_and_what_is_only_requested_has_no_limit() -> None:
    assert container_of(templated(resources={}))["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    resources = container_of(templated(resources={"requests": {"cpu": "500m"}}))["resources"]
    assert resources["limits"] == {"memory": "8Gi"}
    assert resources["requests"]["cpu"] == "500m"


def test_scratch_holds_both_parents_and_is_asked_of_the_node() -> None:
    size = 70 << 30
    manifest = made(parent_bytes=size)
    scratch = volume_of(manifest, "scratch")["emptyDir"]
    assert int(scratch["sizeLimit"]) == scratch_bytes(size) > size
    assert container_of(manifest)["resources"]["requests"]["ephemeral-storage"] == scratch["sizeLimit"]
    assert volume_of(manifest, "shared-memory")["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_a_scratch_volume_of_ones_own_takes_the_place_of_ours() -> None:
    claim = {
        "volumeClaimTemplate": {
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Ti"}}}
        }
    }
    manifest = templated(volumes=[{"name": "scratch", "ephemeral": claim}], volumeMounts=[])
    assert volume_of(manifest, "scratch") == {"name": "scratch", "ephemeral": claim}
    assert "ephemeral-storage" not in container_of(manifest)["resources"]["requests"]


def test_orders_reach_the_worker_letter_for_letter() -> None:
    kinds = (KindRule(pattern=r"\$(HOME)$|a$$b|$$$(USER)", kind="attention"),)
    task = Task(revision=REVISIONS["mri"], seed=0, inputs=MriInputs(pins=PINS, mri=Mri(kinds=kinds)))
    manifest = made(start(order(task)))
    read = Orders.model_validate_json(value_of(manifest, "DARWIN_ORDERS"))
    assert read == to_do(order(task))
    assert read.orders[0].task.id == read.orders[0].id


def test_a_job_works_or_recalls() -> None:
    assert container_of(made())["args"] == ["work"]
    assert container_of(made(RECALL))["args"] == ["recall"]


def test_more_orders_than_a_variable_holds_are_refused() -> None:
    with pytest.raises(BadConfiguration, match="give them to several pods"):
        made(start(*[order(RESOLVE)] * 2000))


def test_credentials_are_only_named() -> None:
    assert container_of(made())["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert "envFrom" not in container_of(made(store={}))


def test_the_stores_place_is_told_and_a_persons_variables_have_the_last_word() -> None:
    manifest = made(
        store={"endpoint": "https://s3.example.org"}, template={"env": [{"name": "AWS_REGION", "value": "x"}]}
    )
    assert value_of(manifest, "AWS_ENDPOINT_URL_S3") == "https://s3.example.org"
    assert value_of(manifest, "AWS_REGION") == "x"
    assert value_of(made(store={"endpoint": "https://s3.example.org"}), "AWS_REGION") == "us-east-1"
    assert {"AWS_REGION", "AWS_ENDPOINT_URL_S3"}.isdisjoint(v["name"] for v in container_of(made())["env"])


def test_a_worker_knows_its_pods_name_whatever_its_host_is_called() -> None:
    (found,) = [v for v in container_of(made())["env"] if v["name"] == "POD_NAME"]
    assert found["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_what_a_person_says_of_pods_stands_in_them_as_it_was_written() -> None:
    said = {
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "serviceAccountName": "worker",
    }
    manifest = made(template={**CLUSTER["template"], **said}, priorityClassName="low")
    assert {name: pod_of(manifest)[name] for name in said} == said
    assert pod_of(manifest)["priorityClassName"] == "low"
    assert TASKS in container_of(manifest)["volumeMounts"]
    assert volume_of(manifest, "tasks") == CLUSTER["template"]["volumes"][0]
    assert said.keys().isdisjoint(pod_of(made()).keys()), "what isn't said doesn't stand there"


def test_a_job_is_the_runs_and_goes_with_it() -> None:
    (reference,) = made()["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "name": "tiny",
        "uid": OWNER.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def test_a_job_waits_for_its_queue_from_the_first_moment_on() -> None:
    manifest = made(queueName="team")
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert manifest["spec"]["suspend"] is True
    assert "suspend" not in made()["spec"]


def test_job_and_pods_can_be_found_by_experiment_stage_and_task() -> None:
    one = start(order(score(3, 7), "merge"), attempt=2)
    manifest = made(one, template={"labels": {"team": "a", "app.kubernetes.io/name": "mine"}})
    labels = manifest["metadata"]["labels"]
    assert manifest["spec"]["template"]["metadata"]["labels"] == {"team": "a"} | labels
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


def test_a_worker_of_another_version_is_told_apart_from_one_that_talks_gibberish() -> None:
    found = ended("Succeeded", 0, '{"version": 2, "told": 1}')
    assert (found.reason, found.exit) == ("Malformed", ExitCode.VERSION_SKEW)
    assert "version 2" in found.text


def test_containers_that_a_cluster_adds_are_not_listened_to() -> None:
    added = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 0, "message": "bye"}}}
    ours = {"name": "worker", "state": {"terminated": {"exitCode": 0, "message": DONE}}}
    found = ending({"status": {"phase": "Succeeded", "containerStatuses": [added, ours]}})
    assert found and found.reason == "Done"


@pytest.mark.parametrize("code", sorted({*ExitCode, 1, 2, 137, 139} - {0}))
def test_every_end_of_a_worker_leads_to_a_reason_that_a_status_may_give(code: int) -> None:
    attempt = Attempt(task="t", number=1, exit=ended("Failed", code).exit)
    ruling = retry(Limits(attempts=1, interruptions=1), [attempt])
    assert isinstance(ruling, GiveUp)
    assert ruling.reason in REASONS["Stalled"]


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


@pytest.mark.parametrize("reason", ["UnexpectedAdmissionError", "OutOfcpu", "NodeAffinity", "NodeShutdown"])
def test_a_pod_that_its_kubelet_does_not_take_is_nobodys_fault(reason: str) -> None:
    found = ended("Failed", status={"reason": reason, "message": "Pod was rejected: why"})
    assert (found.reason, found.exit) == ("NotAdmitted", ExitCode.INTERRUPTED)
    assert found.text == f"{reason}: Pod was rejected: why"


def test_a_kill_that_nobody_owns_to_is_taken_for_lack_of_memory() -> None:
    assert ended("Failed", 137).exit == ExitCode.OUT_OF_MEMORY
    assert ended("Failed", 137, why="OOMKilled").exit == ExitCode.OUT_OF_MEMORY

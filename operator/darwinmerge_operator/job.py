"""From orders to a Kubernetes Job: what a pod shall do, what it may use, and whose fault its end is.

A Job is one attempt. Kubernetes repeats by itself only what nobody is to blame for, a disruption or a stop that
the worker took cleanly; everything else ends the Job, and the driver decides by `darwinmerge.pipeline.retry`, as on a
laptop. Pods satisfy Pod Security's `restricted`, and write nowhere but to their scratch volume.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.types import Count, Frozen
from darwinmerge.pipeline.orders import Order, Orders
from darwinmerge.pipeline.tasks import ScoreInputs
from darwinmerge.uri import CLAIMS_DEFAULT
from darwinmerge_operator.pod_template import SCRATCH, SCRATCH_VOLUME, SHARED_MEMORY

NAME_LETTERS = 57  # a Job's pods are called after it with six letters more, and a label holds 63
UID = 10001  # the user of both images
GRACE_SECONDS = 30  # a worker takes up to 10 to stop, and its log goes up after that
SCRATCH_BASE = 4 << 30  # bytes for caches and temporary files, whatever the models' size
ORDERS_BYTES = 120_000  # Linux takes 131,072 bytes in one variable, its name included
CONTAINER = "worker"
LABEL = "darwinmerge.io"  # prefix of the labels that tell what a Job is for

# The first rule that matches decides; a failure that none matches counts, and one is enough (backoffLimit 0).
FAILURE_POLICY: dict[str, Any] = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [int(ExitCode.INTERRUPTED)]}},
        {
            "action": "FailJob",
            "onExitCodes": {
                "operator": "In",
                "values": sorted([ExitCode.BAD_INPUT, ExitCode.VERSION_SKEW, ExitCode.BAD_CONFIGURATION]),
            },
        },
    ]
}


class PodSettings(Frozen):
    """What a worker's pod is made of and may use."""

    image: str
    """The worker's image, by a tag that isn't moved or by digest."""
    cpu: str = "2"
    """Cores, requested and limited, as Kubernetes writes them; whole numbers let a static CPU manager pin them."""
    memory: str = "8Gi"
    """Memory, requested and limited; what is in `shared_memory` counts."""
    gpus: int = 0
    """GPUs, as `nvidia.com/gpu`."""
    shared_memory: str = "1Gi"
    """Size of /dev/shm, which torch's processes share tensors through."""
    secret: str = ""
    """A Secret whose keys become environment variables: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, HF_TOKEN."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Further environment variables, for what isn't secret: AWS_ENDPOINT_URL_S3, AWS_REGION."""
    task_files: str = ""
    """A ConfigMap that holds lm-eval task YAML and its rows; mounted as the orders' task folder."""


class Owner(Frozen):
    """The object that owns a Job: when it is deleted, so is the Job."""

    api_version: str
    kind: str
    name: str
    uid: str


def job(
    experiment: str,
    orders: Orders,
    attempt: Count,
    pod: PodSettings,
    parent_bytes: int = 0,
    owner: Owner | None = None,
) -> dict[str, Any]:
    """The manifest of a Job that does `orders`, for any namespace.

    Args:
        experiment: name of the experiment, a DNS label of at most 36 letters.
        orders: what to do, at least one order; the first gives the Job its name.
        attempt: from 1; another attempt is another Job.
        pod: what its pod is made of.
        parent_bytes: size of both parents, as `ResolveSummary` has it; 0 while that isn't known.
        owner: whose Job it is, if an object of the cluster stands for the experiment.

    Raises:
        BadConfiguration: the orders don't fit into a variable.
    """
    first = orders.orders[0]
    labels = {
        "app.kubernetes.io/name": "darwinmerge",
        "app.kubernetes.io/component": CONTAINER,
        f"{LABEL}/experiment": experiment,
        f"{LABEL}/stage": _stage(first),
        f"{LABEL}/task": first.id[:16],
        f"{LABEL}/part": first.part,
        f"{LABEL}/attempt": str(attempt),
    }
    metadata: dict[str, Any] = {"name": job_name(experiment, orders, attempt, owner), "labels": labels}
    if owner:
        # blockOwnerDeletion would need a permission on the owner's finalizers, and nobody waits for us
        reference = {**owner.model_dump(by_alias=True), "controller": True, "blockOwnerDeletion": False}
        metadata["ownerReferences"] = [reference]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": FAILURE_POLICY,
            "podReplacementPolicy": "Failed",  # not before the old pod has ended: never two of one attempt
            "template": {"metadata": {"labels": labels}, "spec": _pod(orders, pod, parent_bytes)},
        },
    }


def job_name(experiment: str, orders: Orders, attempt: int, owner: Owner | None = None) -> str:
    """`<experiment>-g03-c07-merge-<hash>-<attempt>`, a DNS label; a long experiment's name is cut, the rest never.

    The hash tells apart what looks alike: orders of one stage, and experiments of one name, one after the other.
    """
    first = orders.orders[0]
    place = ""
    if isinstance(first.task.inputs, ScoreInputs) and first.task.inputs.generation:
        place = f"-g{first.task.inputs.generation:02d}-c{first.task.inputs.index:02d}"
    what = digest([owner.uid if owner else "", [[one.id, one.part] for one in orders.orders]])[:8]
    rest = f"{place}-{_stage(first)}-{what}-{attempt}"
    return experiment[: NAME_LETTERS - len(rest)].rstrip("-") + rest


def scratch_bytes(parent_bytes: int) -> int:
    """Size of the scratch volume: models that come from a hub or a store may lie there, each once."""
    return SCRATCH_BASE + parent_bytes


def _stage(order: Order) -> str:
    return {"all": order.task.stage, "merge": "merge", "evaluate": "eval"}[order.part]


def _pod(orders: Orders, pod: PodSettings, parent_bytes: int) -> dict[str, Any]:
    volumes, mounts = _volumes(orders, pod, parent_bytes)
    resources = {"cpu": pod.cpu, "memory": pod.memory, **({"nvidia.com/gpu": str(pod.gpus)} if pod.gpus else {})}
    scratch = {"ephemeral-storage": str(scratch_bytes(parent_bytes))}  # a node that hasn't it isn't chosen
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": pod.image,
        "args": ["work"],
        "env": _environment({"DARWIN_ORDERS": _json(orders), **pod.environment}),
        # equal: such a pod is the last to be evicted from a node under pressure
        "resources": {"requests": {**resources, **scratch}, "limits": resources},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",  # last words of a worker that couldn't write any
    }
    if pod.secret:
        container["envFrom"] = [{"secretRef": {"name": pod.secret}}]
    return {
        "restartPolicy": "Never",  # a podFailurePolicy demands it
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }


def _volumes(orders: Orders, pod: PodSettings, parent_bytes: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [
        {"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": str(scratch_bytes(parent_bytes))}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shared_memory}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": SCRATCH_VOLUME, "mountPath": SCRATCH},
        {"name": "shared-memory", "mountPath": SHARED_MEMORY},
    ]
    for number, claim in enumerate(_claims(orders)):
        # read-only twice: a read-only mount alone would let the kubelet give the parents' files to our fsGroup
        volumes.append(
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
        )
        mounts.append({"name": f"claim-{number}", "mountPath": f"{CLAIMS_DEFAULT}/{claim}", "readOnly": True})
    if pod.task_files:
        volumes.append({"name": "task-files", "configMap": {"name": pod.task_files}})
        mounts.append({"name": "task-files", "mountPath": orders.where.task_folder, "readOnly": True})
    return volumes, mounts


def _claims(orders: Orders) -> list[str]:
    """Volume claims that hold parents, by name."""
    parents = (uri.partition("://") for uri in (orders.where.father, orders.where.mother))
    return sorted({rest.partition("/")[0] for scheme, _, rest in parents if scheme == "pvc"})


def _json(orders: Orders) -> str:
    text = orders.model_dump_json(by_alias=True)
    if len(text.encode()) > ORDERS_BYTES:
        raise BadConfiguration(
            f"{len(orders.orders)} orders are {len(text.encode())} bytes, and a pod takes {ORDERS_BYTES}; "
            "give them to several pods"
        )
    return text


def _environment(variables: Mapping[str, str]) -> list[dict[str, str]]:
    """Variables as they are: a kubelet would replace `$(NAME)` in them, and takes `$$` for `$`."""
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in variables.items()]

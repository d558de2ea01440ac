"""From orders to a Kubernetes Job: what a pod shall do, what it may use, and whose fault its end is.

A Job is one attempt. Kubernetes repeats by itself only what nobody is to blame for, a disruption or a stop that
the worker took cleanly; everything else ends the Job, and the operator decides by `darwinmerge.pipeline.retry`, as on
a laptop. Pods satisfy Pod Security's `restricted`, and write nowhere but to their scratch volume; the one that
publishes a child, to the volume claim of its output too.
"""

from collections.abc import Mapping
from typing import Any, Literal

from darwinmerge.canonical import digest
from darwinmerge.errors import BadConfiguration, ExitCode
from darwinmerge.experiment.types import Count, Frozen
from darwinmerge.pipeline.orders import POD_NAME, Orders
from darwinmerge.pipeline.tasks import PublishInputs, ScoreInputs
from darwinmerge.uri import claim_of
from darwinmerge_operator.cluster_spec import Cluster, StagePod
from darwinmerge_operator.pod import (
    RESTRICTED,
    Json,
    addresses,
    environment,
    given,
    keys,
    mounted,
    placement,
    queue,
    resources,
    security,
    written,
)
from darwinmerge_operator.pod_template import SCRATCH, SCRATCH_VOLUME, SHARED_MEMORY, PodTemplate
from darwinmerge_operator.resource import GROUP, KIND, VERSION

NAME_LETTERS = 57  # a Job's pods are called after it with six letters more, and a label holds 63
GRACE_SECONDS = 30  # a worker takes up to 10 to stop, and its log goes up after that
SCRATCH_BASE = 4 << 30  # bytes for caches and temporary files, whatever the models' size
ORDERS_BYTES = 120_000  # Linux takes 131,072 bytes in one variable, its name included
CONTAINER = "worker"
LABEL = GROUP  # prefix of the labels that tell what a Job is for

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

Verb = Literal["work", "recall"]


class Start(Frozen):
    """A Job to create."""

    verb: Verb
    stage: str  # what it is called, and whose resources it gets
    part: str  # of the task; or `recall`, `finish`
    orders: Orders
    attempt: Count  # from 1; another attempt is another Job

    @property
    def task(self) -> str:
        """What its attempts are counted by, together with the part."""
        return self.orders.orders[0].id[:16] if self.orders.orders else self.part


class Owner(Frozen):
    """The DarwinMerge that a Job is of: when it is deleted, so is the Job."""

    name: str
    uid: str

    @property
    def reference(self) -> Json:
        """The owner reference of what is made for it."""
        # blockOwnerDeletion would need a permission on the owner's finalizers, and nobody waits for us
        kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "controller": True, "blockOwnerDeletion": False}
        return {**kind, "name": self.name, "uid": self.uid}


def job(start: Start, owner: Owner, cluster: Cluster, image: str, parent_bytes: int = 0) -> Json:
    """The manifest of a Job.

    Args:
        start: what it is for.
        owner: whose Job it is.
        cluster: what its pod is made of and may use.
        image: the worker's.
        parent_bytes: size of both parents, as `ResolveSummary` has it; 0 while that isn't known.

    Raises:
        BadConfiguration: the orders don't fit into a variable.
    """
    labels = {
        "app.kubernetes.io/name": "darwinmerge",
        "app.kubernetes.io/component": CONTAINER,
        f"{LABEL}/experiment": owner.name,
        f"{LABEL}/stage": start.stage,
        f"{LABEL}/task": start.task,
        f"{LABEL}/part": start.part,
        f"{LABEL}/attempt": str(start.attempt),
    }
    template = cluster.template
    meta = {"labels": {**template.labels, **labels}, **given(annotations=template.annotations)}
    queued = queue(cluster)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(start, owner),
            "labels": {**labels, **queued},
            "ownerReferences": [owner.reference],
        },
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": FAILURE_POLICY,
            "podReplacementPolicy": "Failed",  # not before the old pod has ended: never two of one attempt
            **given(suspend=bool(queued)),  # from the first moment on, even where Kueue's webhook is away
            "template": {"metadata": meta, "spec": _pod(start, cluster, image, parent_bytes)},
        },
    }


def job_name(start: Start, owner: Owner) -> str:
    """`<experiment>-g03-c07-merge-<hash>-<attempt>`, a DNS label; a long experiment's name is cut, the rest never.

    The hash tells apart what looks alike: orders of one stage, and experiments of one name, one after the other.
    """
    place, orders = "", start.orders.orders
    inputs = orders[0].task.inputs if orders else None
    if start.verb == "work" and isinstance(inputs, ScoreInputs) and inputs.generation:
        place = f"-g{inputs.generation:02d}-c{inputs.index:02d}"
    what = digest([owner.uid, start.verb, [[one.id, one.part] for one in orders]])[:8]
    rest = f"{place}-{start.stage}-{what}-{start.attempt}"
    return owner.name[: NAME_LETTERS - len(rest)].rstrip("-") + rest


def scratch_bytes(parent_bytes: int) -> int:
    """Size of the scratch volume: models that come from a hub or a store may lie there, each once."""
    return SCRATCH_BASE + parent_bytes


def _pod(start: Start, cluster: Cluster, image: str, parent_bytes: int) -> Json:
    template, pod = cluster.template, cluster.pod_of(start.stage)
    volumes, mounts = _volumes(_claims(start), template, parent_bytes)
    container: Json = {
        "name": CONTAINER,
        "image": image,
        "args": [start.verb],
        "env": _environment(start.orders, cluster, pod),
        "resources": resources(pod, 0 if _has_scratch(template) else scratch_bytes(parent_bytes)),
        "volumeMounts": mounts,
        "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # last words of a worker that couldn't write any
        **keys(cluster.store),
    }
    return {
        "restartPolicy": "Never",  # a podFailurePolicy demands it
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security(template),
        "containers": [container],
        "volumes": volumes,
        **placement(pod, template),
    }


def _environment(orders: Orders, cluster: Cluster, pod: StagePod) -> list[Json]:
    """Orders, then the store's place and what a person wants."""
    return [
        # a kubelet would replace `$(NAME)`, and takes `$$` for `$`
        {"name": "DARWIN_ORDERS", "value": _json(orders).replace("$", "$$")},
        # after which its log is called; HOSTNAME is the node's where a Pod has its network
        {"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        *environment(addresses(cluster.store), pod),
    ]


def _has_scratch(template: PodTemplate) -> bool:
    return any(volume.name == SCRATCH_VOLUME for volume in template.volumes)


def _volumes(claims: Mapping[str, bool], template: PodTemplate, parent_bytes: int) -> tuple[list[Json], list[Json]]:
    volumes: list[Json] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": template.shared_memory}}
    ]
    if not _has_scratch(template):
        volumes.append({"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": str(scratch_bytes(parent_bytes))}})
    mounts: list[Json] = [
        {"name": SCRATCH_VOLUME, "mountPath": SCRATCH},
        {"name": "shared-memory", "mountPath": SHARED_MEMORY},
    ]
    on_claims, there = mounted(claims)
    volumes += on_claims + [written(volume) for volume in template.volumes]
    mounts += there + [written(mount) for mount in template.volume_mounts]
    return volumes, mounts


def _claims(start: Start) -> dict[str, bool]:
    """Volume claims that a Job needs, by name, and whether it writes to one: publication does, to the output's.

    All read parents, what adapters are on, and the base; who claims the store looks at what stands at the output.
    """
    where, recalls = start.orders.where, start.verb == "recall"
    inputs = [one.task.inputs for one in start.orders.orders]
    publishes = not recalls and any(isinstance(one, PublishInputs) and one.destination for one in inputs)
    claims = dict.fromkeys((claim_of(uri) for who in where.models for uri in where.parent(who)), False)
    if publishes or (recalls and start.orders.claim):
        claims[claim_of(where.output)] = publishes
    return {claim: writable for claim, writable in claims.items() if claim}


def _json(orders: Orders) -> str:
    text = orders.model_dump_json(by_alias=True)
    if len(text.encode()) > ORDERS_BYTES:
        raise BadConfiguration(
            f"{len(orders.orders)} orders are {len(text.encode())} bytes, and a pod takes {ORDERS_BYTES}; "
            "give them to several pods"
        )
    return text

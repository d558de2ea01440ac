"""What the Pods of workers and of servers have in common: rights, resources, nodes, queue, the way to S3; pure."""

from collections.abc import Mapping
from typing import Any

from darwinmerge.experiment.types import Frozen
from darwinmerge.uri import CLAIMS_DEFAULT
from darwinmerge_operator.cluster_spec import Cluster, StagePod, StoreAccess
from darwinmerge_operator.pod_template import PodTemplate

UID = 10001  # the user of both images
MODEST = {"cpu": "2", "memory": "8Gi"}  # where the resource says neither
STORAGE = "ephemeral-storage"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
Json = dict[str, Any]
RESTRICTED: Json = {  # the security context of a container
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def resources(pod: StagePod, scratch: int) -> Json:
    """Limits as given, and requests default to them: such a pod is the last to be evicted under pressure."""
    limits, requests = dict(pod.resources.limits), dict(pod.resources.requests)
    limits |= {name: amount for name, amount in MODEST.items() if name not in limits | requests}
    requests = limits | requests
    if scratch:
        requests.setdefault(STORAGE, str(scratch))  # a node that hasn't it isn't chosen
    return {"limits": limits, "requests": requests}


def placement(pod: StagePod, template: PodTemplate) -> Json:
    """Where a Pod may run, before whom, and as whom."""
    return given(
        nodeSelector=pod.node_selector,
        tolerations=[written(toleration) for toleration in pod.tolerations],
        priorityClassName=pod.priority_class_name,
        affinity=template.affinity,
        topologySpreadConstraints=list(template.topology_spread_constraints),
        serviceAccountName=template.service_account_name,
    )


def environment(ours: Mapping[str, str | Json], pod: StagePod) -> list[Json]:
    """Variables of ours, by value or by where it comes from, then what a person wants, who has the last word."""
    named = {variable.name for variable in pod.env}
    plain = [
        {"name": name, "value" if isinstance(value, str) else "valueFrom": value}
        for name, value in ours.items()
        if name not in named
    ]
    return [*plain, *(written(variable) for variable in pod.env)]


def queue(cluster: Cluster) -> dict[str, str]:
    """The label by which Kueue takes something into a queue, where it is to be in one."""
    return {QUEUE_LABEL: cluster.queue_name} if cluster.queue_name else {}


def keys(store: StoreAccess) -> Json:
    """What gives a container the keys of S3, where there are some to be given."""
    secret = store.credentials_secret
    return {"envFrom": [{"secretRef": {"name": secret.name}}]} if secret else {}


def addresses(store: StoreAccess) -> dict[str, str]:
    """Variables that lead to S3."""
    region = store.region or ("us-east-1" if store.endpoint else "")
    return given(AWS_ENDPOINT_URL_S3=store.endpoint, AWS_REGION=region)


def mounted(claims: Mapping[str, bool]) -> tuple[list[Json], list[Json]]:
    """Volumes and mounts of claims, by name and whether they are written to, where `pvc://` is looked for."""
    volumes, mounts = [], []
    for number, (claim, writable) in enumerate(sorted(claims.items())):
        # read-only twice: a read-only mount alone would let the kubelet give all files of the claim to our fsGroup,
        # which is what makes one writable
        mode = given(readOnly=not writable)
        volumes.append({"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim, **mode}})
        mounts.append({"name": f"claim-{number}", "mountPath": f"{CLAIMS_DEFAULT}/{claim}", **mode})
    return volumes, mounts


def security(template: PodTemplate) -> Json:
    """The security context of a Pod."""
    user = {"runAsUser": UID, "runAsGroup": UID, "fsGroup": UID}
    chosen = user if template.security_context is None else written(template.security_context)
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **chosen}


def written(part: Frozen) -> Json:
    """A part of the template as a Pod has it: the same names, and nothing that a person didn't write."""
    return part.model_dump(mode="json", by_alias=True, exclude_unset=True)


def given(**fields: Any) -> Json:
    """Fields that aren't empty."""
    return {name: value for name, value in fields.items() if value}

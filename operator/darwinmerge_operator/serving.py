"""The server of a child: a Deployment of vLLM and its Service, as manifests; pure.

They are applied on the server's side when a run is complete, until the API server takes them, and whenever its manifest
changes after that, so that a newer child takes the place of an older one. Both are the run's, and go with it. Pods
satisfy Pod Security's `restricted`, and write nowhere but to their scratch volume; weights come straight from S3, or
from a volume claim that is mounted read-only.
"""

from darwinmerge.pipeline.known import Walk
from darwinmerge.report.state import child_place
from darwinmerge.store import layout
from darwinmerge.uri import claim_of, in_pod
from darwinmerge_operator.cluster_spec import Cluster, Serve, StagePod
from darwinmerge_operator.job import LABEL, Owner
from darwinmerge_operator.pod import (
    RESTRICTED,
    Json,
    addresses,
    environment,
    keys,
    mounted,
    placement,
    queue,
    resources,
    security,
    written,
)
from darwinmerge_operator.pod_template import SCRATCH, SCRATCH_VOLUME, SHARED_MEMORY, Resources
from darwinmerge_operator.resource import DarwinMerge

PORT = 8000
START_SECONDS = 3600  # of a server: a large model is read, compiled and captured
PROBE_SECONDS = 10
SCRATCH_BYTES = 16 << 30  # compiled kernels, configuration, tokenizer


def of_run(resource: DarwinMerge, owner: Owner, walked: Walk) -> tuple[Json, ...]:
    """What serves the published child of a run, if that is wanted and there is one; see `serving`."""
    cluster, child, experiment = resource.spec.cluster, walked.published, resource.experiment()
    if not cluster.serve or not child or child.withheld:
        return ()
    uri = child_place(experiment, walked, experiment.where.store.rstrip("/"))
    return serving(cluster.serve, cluster, owner, child.recipe[: layout.SHORT], uri)


def kept_back(resource: DarwinMerge, walked: Walk) -> str:
    """Why the child of a run isn't served though servers are wanted; empty where nothing keeps it back."""
    child, verdict = walked.published, walked.verdict
    if not resource.spec.cluster.serve or not child or not child.withheld or not verdict:
        return ""
    return (
        f"the verdict is {verdict.label}, and spec.output.publishIf: {resource.spec.output.publish_if} keeps such a "
        "child in the store; to serve it nevertheless, delete this DarwinMerge and create it again with the same store "
        "and publishIf: Always, where what is done stays done"
    )


def serving(serve: Serve, cluster: Cluster, owner: Owner, recipe: str, uri: str) -> tuple[Json, Json]:
    """The manifests of Deployment and Service.

    Args:
        serve: what is asked of the servers.
        cluster: how they reach S3, and the Pods of benchmarks, which servers share nodes and resources with.
        owner: whose child it is.
        recipe: the child's; another one restarts the servers.
        uri: where the child lies, `s3://bucket/prefix` or `pvc://claim/path`.
    """
    name, labels = f"{owner.name}-serve", {"app.kubernetes.io/name": "vllm", f"{LABEL}/serves": owner.name}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner.reference]}
    template = {
        "metadata": {
            "labels": {**cluster.template.labels, **labels},
            "annotations": {**cluster.template.annotations, f"{LABEL}/recipe": recipe},
        },
        "spec": _pod(serve, cluster, owner.name, uri),
    }
    deployment: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": {**labels, **queue(cluster)}},
        "spec": {
            "replicas": serve.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},  # a second server would wait for a GPU that the first one holds
            "progressDeadlineSeconds": START_SECONDS + 600,
            "template": template,
        },
    }
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
    return deployment, service


def _pod(serve: Serve, cluster: Cluster, name: str, uri: str) -> Json:
    template, pod = cluster.template, cluster.pod_of("eval")
    if serve.resources != Resources():
        pod = pod.model_copy(update={"resources": serve.resources})
    claim = claim_of(uri)
    volumes, mounts = mounted({claim: False} if claim else {})
    container: Json = {
        "name": "vllm",
        "image": serve.image,
        "command": ["vllm", "serve"],
        "args": [
            in_pod(uri),
            "--load-format=runai_streamer",
            f"--served-model-name={name}",
            f"--port={PORT}",
            *serve.args,
        ],
        "env": _environment(serve, cluster, pod),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": resources(pod, SCRATCH_BYTES),
        "startupProbe": {**_healthy(), "failureThreshold": START_SECONDS // PROBE_SECONDS},
        "readinessProbe": _healthy(),
        "livenessProbe": {**_healthy(), "failureThreshold": 6},
        "volumeMounts": [
            {"name": SCRATCH_VOLUME, "mountPath": SCRATCH},
            {"name": SCRATCH_VOLUME, "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": SHARED_MEMORY},
            *mounts,
        ],
        "securityContext": RESTRICTED,
        **keys(cluster.store),
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # Kubernetes' own VLLM_PORT of a Service called vllm would be taken for a setting
        "securityContext": security(template),
        "containers": [container],
        "volumes": [
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": template.shared_memory}},
            {"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": str(SCRATCH_BYTES)}},
            *volumes,
        ],
        **placement(pod, template),
    }


def _environment(serve: Serve, cluster: Cluster, pod: StagePod) -> list[Json]:
    """The place of S3, a home that can be written to, the clients' key, and what a person wants."""
    endpoint = cluster.store.endpoint
    elsewhere = {"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0", "AWS_EC2_METADATA_DISABLED": "true"}
    ours: dict[str, str | Json] = {
        "HOME": SCRATCH,
        "USER": "vllm",  # torch asks for it, and the image knows no user of this id
        "HF_HUB_OFFLINE": "1",
        **({**elsewhere, "AWS_ENDPOINT_URL": endpoint} if endpoint else {}),
        **addresses(cluster.store),
    }
    if serve.api_key:
        ours["VLLM_API_KEY"] = {"secretKeyRef": written(serve.api_key)}
    return environment(ours, pod)


def _healthy() -> Json:
    return {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PROBE_SECONDS, "timeoutSeconds": 5}

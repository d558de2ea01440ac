"""`spec.cluster`: how a cluster carries an experiment out. Nothing here moves a result by a bit.

So all of it may change while a run goes on, and counts for Jobs that are created from then on; but for `execution`.
"""

from typing import Annotated, Literal

from pydantic import Field

from darwinmerge_operator.pod_template import KeyOf, Name, OptionalName, PodShare, PodTemplate, Resources, Text
from darwinmerge_operator.rules import Section

Group = Literal["mri", "merge", "eval", "other"]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]

_GROUPS: dict[str, Group] = {
    "mri": "mri",
    "health": "mri",
    "merge": "merge",
    "export": "merge",
    "publish": "merge",
    "score": "eval",
    "eval": "eval",
}


def group_of(stage: str) -> Group:
    """Under which name of `spec.cluster.stages` a Job's stage is set up."""
    return _GROUPS.get(stage, "other")


def is_gpu(resource: str) -> bool:
    """Whether a resource of a container is a GPU, or a slice of one, whoever makes it: `nvidia.com/mig-1g.10gb`."""
    return "gpu" in resource or "/mig-" in resource


class StagePod(PodShare):
    """What a stage has instead of the template's; `env` is added to the template's, and wins."""

    priority_class_name: OptionalName = ""
    """PriorityClass of this stage's Pods."""


class Stages(Section):
    """Stages whose Pods differ from the template."""

    mri: StagePod = StagePod()
    """The diagnosis of both parents, and the child's health check: cores and disk; no GPU."""
    merge: StagePod = StagePod()
    """Models written to the store: children of execution Staged, the winner, its publication; cores and bandwidth; no
    GPU."""
    eval: StagePod = StagePod()
    """Benchmarks, with execution Fused the merge as well: the one stage that uses a GPU."""
    other: StagePod = StagePod()
    """All else: parents and rows looked up, Phase 1, verdict, report, summary; little of anything."""


class SecretName(Section):
    """A Secret of the same namespace."""

    name: Name
    """The Secret's name."""


class StoreAccess(Section):
    """How workers reach S3: the store, and whatever else has an `s3://` URI."""

    credentials_secret: SecretName | None = None
    """A Secret whose keys become environment variables of workers: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, also
    HF_TOKEN. Default: none, as with a ServiceAccount that has an identity of the cloud."""
    endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$", max_length=1024)] = ""
    """URL of an S3 that isn't AWS: `https://s3.example.org`."""
    region: Annotated[str, Field(pattern=r"^[-a-zA-Z0-9]*$", max_length=64)] = ""
    """S3's region. Default: us-east-1 where the endpoint is given."""


class Serve(Section):
    """A vLLM server of the child, once it is published: a Deployment and a Service, both `<name>-serve`. It needs
    `serving.enabled` of the operator's chart."""

    image: Annotated[str, Field(pattern=r"^[^\s]+$", max_length=512)] = "vllm/vllm-openai:v0.24.0"
    """vLLM's image, with its Run:ai streamer: the weights come from S3 without a copy on a disk."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """How many servers; 0 keeps the Deployment, and no server."""
    args: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    """Arguments of `vllm serve` besides: `--max-model-len=8192`. Never a secret."""
    api_key: KeyOf | None = None
    """A key of a Secret whose value clients must give. Default: who reaches the Service may ask."""
    resources: Resources = Resources()
    """Compute resources of a server. Default: those of benchmarks."""


class Cluster(Section):
    """How a cluster carries the experiment out."""

    suspend: bool = False
    """Stop: Jobs are deleted, with time for their Pods to finish what they write. Set it back, and the run goes on from
    there."""
    parallelism: Annotated[int, Field(ge=1, le=100)] = 1
    """Jobs at once, at most; a GPU each, say."""
    candidates_per_job: Annotated[int, Field(ge=1, le=8)] = 4
    """Candidates of a generation that one Job scores, one after the other with its models in memory, where there are
    more than Jobs at once. What they scored is seen when the Job ends. Staged: always 1."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 2
    """How often a failed task is tried again before the run stalls. Disruptions by the cluster don't count."""
    active_deadline_seconds: Seconds | None = None
    """The run stalls once it has had Pods running for so many seconds in all. Default: no limit."""
    pending_deadline_seconds: Seconds | None = None
    """The run stalls once a Job has waited for so many seconds without a running Pod, a queue's wait not counted.
    Default: no limit, but 600 for a Pod that no node takes."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """A finished run's Jobs are deleted after so many seconds, with their logs; the DarwinMerge stays. Default: they
    stay as long as it does."""
    queue_name: OptionalName = ""
    """Kueue's LocalQueue that Jobs are put in. Default: none."""
    priority_class_name: OptionalName = ""
    """PriorityClass of all Pods. Default: the cluster's default."""
    execution: Literal["Fused", "Staged"] = "Fused"
    """Fused: one Job merges a child in memory and benchmarks it. Staged: one Job writes the child to the store without
    a GPU, another benchmarks it. The same scores either way; it can't be changed later."""
    image: Annotated[str, Field(pattern=r"^[^\s]*$", max_length=512)] = ""
    """The workers' image, by digest or by a tag that isn't moved. Default: the one that belongs to the operator when it
    accepts the experiment, until the run ends."""
    device: Literal["", "cpu", "cuda"] = ""
    """Where benchmarks run. Default: cuda where their Pods ask for a GPU, cpu elsewhere."""
    store: StoreAccess = StoreAccess()
    """How workers reach S3."""
    template: PodTemplate = PodTemplate()
    """The workers' Pods."""
    stages: Stages = Stages()
    """What is otherwise in the Pods of some stages."""
    serve: Serve | None = None
    """Serve the child, on nodes that benchmarks may run on. Default: nothing is served; servers that are there stay
    until they are deleted."""

    @property
    def benchmark_device(self) -> str:
        """Where benchmarks run, as torch calls it."""
        resources = self.pod_of("eval").resources
        return self.device or ("cuda" if any(map(is_gpu, {**resources.limits, **resources.requests})) else "cpu")

    def pod_of(self, stage: str) -> StagePod:
        """What the Pods of a Job's stage get: the stage's own, else the template's.

        GPUs and other devices in the template's resources are for benchmarks; other stages have no use for them.
        """
        group = group_of(stage)
        own: StagePod = getattr(self.stages, group)
        shared = self.template.resources
        named = {variable.name for variable in own.env}
        return StagePod(
            resources=own.resources if own.resources != Resources() else _fit(shared, group),
            node_selector=own.node_selector or self.template.node_selector,
            tolerations=own.tolerations or self.template.tolerations,
            env=(*(variable for variable in self.template.env if variable.name not in named), *own.env),
            priority_class_name=own.priority_class_name or self.priority_class_name,
        )


def _fit(resources: Resources, group: Group) -> Resources:
    """The template's resources, without devices where no benchmark runs: they have a domain in their names."""
    if group == "eval":
        return resources
    return Resources(
        limits={name: amount for name, amount in resources.limits.items() if "/" not in name},
        requests={name: amount for name, amount in resources.requests.items() if "/" not in name},
    )

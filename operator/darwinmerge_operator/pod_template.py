"""What a person may say of the workers' Pods: a choice of a Pod's fields, called as in a Pod.

A choice, because whole Pod templates make a CRD of half a megabyte, and because of what stays out of reach: a worker
is never privileged, has no capabilities and sees nothing of its node.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from darwinmerge_operator.rules import KeyedBy, Rule, Section, exactly_one

SCRATCH_VOLUME, SCRATCH = "scratch", "/scratch"  # where the image expects to write
SHARED_MEMORY = "/dev/shm"
OURS = "darwinmerge.io/"  # labels and annotations that begin so are the operator's
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$"

Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
OptionalName = Annotated[str, Field(pattern=rf"^$|{DNS_NAME}", max_length=253)]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ConfigKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Text = Annotated[str, Field(max_length=4096)]
Quantity = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=QUANTITY, max_length=32)]
Opaque = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
Strings = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=64)]
UserId = Annotated[int, Field(ge=1, le=2**31 - 1)]

NOT_OURS = Rule(
    f"!self.exists(key, key.startsWith('{OURS}'))",
    f"keys that begin with {OURS} are the operator's; choose another",
    lambda keys: not any(key.startswith(OURS) for key in keys),
)


class Resources(Section):
    """Compute resources of a worker, as in a Pod."""

    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """The most it gets, by resource: `cpu`, `memory`, `nvidia.com/gpu`. Write half a core as 500m."""
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict)
    """What it is promised, by resource. Default: the limits."""


class Toleration(Section):
    """A taint of a node that a worker puts up with, as in a Pod."""

    key: Annotated[str, Field(max_length=316)] = ""
    """The taint's key; empty together with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Equal: the taint has this value. Exists: whatever its value."""
    value: Annotated[str, Field(max_length=63)] = ""
    """The taint's value, with operator Equal."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """The taint's effect. Default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """With effect NoExecute: how long a running worker stays. Default: for ever."""


class KeyOf(Section):
    """One key of a ConfigMap or Secret of the same namespace."""

    name: Name
    """The object's name."""
    key: ConfigKey
    """The key in it."""


class EnvSource(Section):
    """Where a variable's value stands; exactly one is set."""

    secret_key_ref: KeyOf | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyOf | None = None
    """A key of a ConfigMap."""

    rules: ClassVar = (exactly_one("secret_key_ref", "config_map_key_ref"),)


class EnvVar(Section):
    """An environment variable of a worker; exactly one of value and valueFrom is set."""

    name: Annotated[
        str,
        Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", max_length=253),
        Rule(
            "!self.startsWith('DARWIN_')",
            "variables that begin with DARWIN_ are the operator's; choose another",
            lambda name: not name.startswith("DARWIN_"),
        ),
    ]
    """The variable's name."""
    value: Text | None = None
    """Its value; never a secret, which everybody who may read this object could read."""
    value_from: EnvSource | None = None
    """Where its value stands."""

    rules: ClassVar = (exactly_one("value", "value_from"),)


class EmptyDir(Section):
    """A folder that lives as long as the Pod."""

    medium: Literal["", "Memory"] = ""
    """Memory: in memory, which counts against the memory limit. Default: on the node's disk."""
    size_limit: Quantity | None = None
    """Its greatest size."""


class Claim(Section):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: Name
    """The claim's name."""
    read_only: bool = False
    """Mount it for reading only."""


class Item(Section):
    """A key that becomes a file."""

    key: ConfigKey
    """The key."""
    path: Annotated[str, Field(pattern=r"^[^/]", max_length=1024)]
    """The file's path within the volume."""


class ConfigMapVolume(Section):
    """Keys of a ConfigMap as files."""

    name: Name
    """The ConfigMap's name."""
    items: Annotated[tuple[Item, ...], Field(max_length=64)] = ()
    """Keys and their paths. Default: every key, as a file of its name."""


class SecretVolume(Section):
    """Keys of a Secret as files."""

    secret_name: Name
    """The Secret's name."""
    items: Annotated[tuple[Item, ...], Field(max_length=64)] = ()
    """Keys and their paths. Default: every key, as a file of its name."""


class ClaimResources(Section):
    """The size of a claim."""

    requests: Annotated[dict[str, Quantity], Field(min_length=1, max_length=4)]
    """`storage` and how much of it."""


class ClaimSpec(Section):
    """What a claim asks for, as in a PersistentVolumeClaim."""

    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"], ...],
        Field(min_length=1, max_length=4),
    ]
    """How the volume may be mounted; ReadWriteOnce for a worker's own."""
    storage_class_name: OptionalName = ""
    """The storage class. Default: the cluster's default class."""
    resources: ClaimResources
    """Its size."""


class ClaimTemplate(Section):
    """A claim that is made for each Pod."""

    spec: ClaimSpec
    """What it asks for."""


class Ephemeral(Section):
    """A volume that is provisioned for each Pod, and goes with it."""

    volume_claim_template: ClaimTemplate
    """The claim that is made for it."""


class Volume(Section):
    """A volume; exactly one of its kinds is set."""

    name: Annotated[
        Label,
        Rule(
            "self != 'shared-memory' && !self.startsWith('claim-')",
            "the operator has a volume of this name; choose another",
            lambda name: name != "shared-memory" and not name.startswith("claim-"),
        ),
    ]
    """What `volumeMounts` call it. A volume called `scratch` takes the place of the one that workers write to, an
    emptyDir as large as both parents and 4 GiB."""
    empty_dir: EmptyDir | None = None
    """A folder that lives as long as the Pod."""
    persistent_volume_claim: Claim | None = None
    """A PersistentVolumeClaim. Parents given as `pvc://` are mounted without being named here."""
    config_map: ConfigMapVolume | None = None
    """Keys of a ConfigMap, such as task YAML for `evaluation.taskFolder`."""
    secret: SecretVolume | None = None
    """Keys of a Secret."""
    ephemeral: Ephemeral | None = None
    """A volume of its own for each Pod."""

    rules: ClassVar = (exactly_one("empty_dir", "persistent_volume_claim", "config_map", "secret", "ephemeral"),)


class VolumeMount(Section):
    """Where a volume appears in a worker."""

    name: Label
    """The volume's name."""
    mount_path: Annotated[
        str,
        Field(pattern=r"^/[^:]*$", max_length=1024),
        Rule(
            f"!(self in ['{SCRATCH}', '{SHARED_MEMORY}'])",
            f"{SCRATCH} and {SHARED_MEMORY} have their volumes; choose another path",
            lambda path: path not in (SCRATCH, SHARED_MEMORY),
        ),
    ]
    """An absolute path."""
    sub_path: Annotated[str, Field(pattern=r"^([^/].*)?$", max_length=1024)] = ""
    """A path within the volume. Default: all of it."""
    read_only: bool = False
    """Mount it for reading only."""


class Seccomp(Section):
    """The system calls that a worker may make."""

    type: Literal["RuntimeDefault", "Localhost"]
    """RuntimeDefault: the container runtime's choice. Localhost: a profile on the node."""
    localhost_profile: Annotated[str, Field(max_length=1024)] = ""
    """With Localhost: the profile's path on the node."""


class SecurityContext(Section):
    """The user of a worker; never root, never privileged, without capabilities, on a read-only root file system."""

    run_as_user: UserId | None = None
    """User id."""
    run_as_group: UserId | None = None
    """Group id."""
    fs_group: UserId | None = None
    """Group that volumes are given to."""
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] | None = None
    """When they are given to it. OnRootMismatch: where a volume's root isn't already the group's. Default: Always."""
    supplemental_groups: Annotated[tuple[UserId, ...], Field(max_length=16)] = ()
    """Further groups."""
    seccomp_profile: Seccomp | None = None
    """The system calls that it may make. Default: RuntimeDefault."""


class PodShare(Section):
    """What may differ between stages."""

    resources: Resources = Resources()
    """Compute resources. Default for cpu and memory where neither limits nor requests name them: 2 and 8Gi."""
    node_selector: Strings = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints of nodes that workers put up with."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), KeyedBy("name")] = ()
    """Environment variables."""


class PodTemplate(PodShare):
    """What is said of all workers' Pods; each is of one container."""

    labels: Annotated[Strings, NOT_OURS] = Field(default_factory=dict)
    """Labels of Pods, beside the operator's."""
    annotations: Annotated[Strings, NOT_OURS] = Field(default_factory=dict)
    """Annotations of Pods."""
    volumes: Annotated[tuple[Volume, ...], Field(max_length=16), KeyedBy("name")] = ()
    """Volumes, beside the operator's own for scratch, shared memory and parents on claims."""
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=16), KeyedBy("mount_path")] = ()
    """Where they appear."""
    security_context: SecurityContext | None = None
    """The user of workers. Default: user, group and fsGroup 10001. Where the cluster chooses them (OpenShift), give
    `{}`."""
    affinity: Opaque | None = None
    """Node and Pod affinity, as in a Pod; checked when a Job is created."""
    topology_spread_constraints: Annotated[tuple[Opaque, ...], Field(max_length=8)] = ()
    """How Pods are spread, as in a Pod; checked when a Job is created."""
    service_account_name: OptionalName = ""
    """The ServiceAccount that workers run as, for access to S3 by the cloud's identities; its token for the API server
    is never mounted. Default: the namespace's default."""
    shared_memory: Quantity = "1Gi"
    """Size of /dev/shm, which counts against the memory limit."""

    rules: ClassVar = (
        Rule(
            "!has(self.volumeMounts) || self.volumeMounts.all(m, "
            f"m.name == '{SCRATCH_VOLUME}' || (has(self.volumes) && self.volumes.exists(v, v.name == m.name)))",
            "every entry of volumeMounts names an entry of volumes",
            lambda pod: {m.name for m in pod.volume_mounts} <= {v.name for v in pod.volumes} | {SCRATCH_VOLUME},
        ),
    )

"""The DarwinMerge resource: the engine's manifest, where a cluster asks for more than a laptop does.

The engine's types stand as they are. What differs: places must be such that Pods reach them, `spec.cluster` is typed,
and what was once accepted doesn't change. Rules that the engine checks by itself have their CEL in
`darwinmerge_operator.engine_rules`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from darwinmerge.experiment import benchmark, manifest, searching
from darwinmerge.experiment.experiment import Experiment, Limits, experiment_of
from darwinmerge.experiment.load import check
from darwinmerge.experiment.manifest import Manifest
from darwinmerge.uri import MODEL, REVISION
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.rules import Rule, Section, immutable, or_default

GROUP, VERSION, KIND, PLURAL = "darwinmerge.io", "v1alpha1", "DarwinMerge", "darwinmerges"
RETRY = f"{GROUP}/retry-requested-at"  # annotation: any new value is another try for whatever failed
MAX_CHILDREN = 3000  # of one run; see `ledger`
NAME_LETTERS = 36  # a Job's name holds it and says besides what the Job is for
_PATH = r"(/[^/\x00-\x1f]+)*/?"
_S3 = r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]" + _PATH
_HF = f"hf://{MODEL}(@{REVISION})?"
_CLAIM = r"pvc://[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_PVC = _CLAIM + _PATH
_IN_PVC = _CLAIM + r"(/[^/\x00-\x1f]+)+/?"  # a folder in it, which can be renamed
_DOTS = r"/\.{1,2}(/|$)"


def _place(pattern: str, message: str) -> Rule:
    return Rule(
        f"self.matches(r'^({pattern})$') && !self.matches(r'{_DOTS}')",
        message,
        lambda uri: bool(re.fullmatch(pattern, uri)) and not re.search(_DOTS, uri),
    )


ParentUri = Annotated[
    str,
    Field(max_length=1024),
    _place(
        f"{_S3}|{_HF}|{_PVC}",
        "a Pod finds parents at s3://bucket/prefix, hf://org/name@revision or pvc://claim/path; upload a folder "
        "of your machine, and give its s3:// URI",
    ),
]
BaseUri = Annotated[
    str,
    Field(max_length=1024),
    _place(
        f"({_S3}|{_HF}|{_PVC})?", "a Pod finds it at s3://bucket/prefix, hf://org/name@revision or pvc://claim/path"
    ),
]
StoreUri = Annotated[
    str,
    Field(max_length=1024),
    _place(_S3, "in a cluster the store is s3://bucket/prefix, in any S3 (spec.cluster.store.endpoint)"),
]
OutputUri = Annotated[
    str,
    Field(max_length=1024),
    _place(
        f"({_S3}|{_IN_PVC})?",
        "in a cluster the child is published to s3://bucket/prefix or to a folder of a claim, pvc://claim/path, or "
        "left in the store",
    ),
]
TaskFolder = Annotated[
    str,
    Field(max_length=1024),
    Rule(
        "self == '' || self.startsWith('/')",
        "in a cluster taskFolder is an absolute path in a Pod; mount a ConfigMap there, by volumes and volumeMounts of "
        "spec.cluster.template",
        lambda path: path == "" or path.startswith("/"),
    ),
]


class Whole(manifest.Whole):
    """A whole model."""

    uri: ParentUri
    """Where the model folder (safetensors, config, tokenizer) lies: `s3://bucket/prefix`, `pvc://claim/path` on a
    PersistentVolumeClaim of the same namespace, or `hf://org/name@revision` on a model hub. A branch or tag (default:
    `main`) is the commit that it is when the run begins. A gated model needs HF_TOKEN, by `cluster.template.env` or in
    the Secret of `cluster.store`."""


class Parent(Whole, manifest.Parent):
    """One parent model: a whole one, or a LoRA adapter's folder as peft saves it."""

    base: BaseUri = ""
    """Where the model lies that a LoRA adapter at `uri` is on, likewise. Default: the one that the adapter
    names, on a hub."""


class Parents(manifest.Parents):
    """The two models to merge: fine-tunes of one base, of one architecture and one tokenizer."""

    father: Parent
    """Parent A: the child starts from it, takes its configuration and tokenizer, and keeps its dtypes."""
    mother: Parent
    """Parent B: the child moves from Father towards it."""
    base: Whole | None = None
    """What both are fine-tunes of, for merge methods that move from it: it has the tensors that both parents have, in
    their shapes. It isn't diagnosed, scored or published."""


class Evaluation(benchmark.Evaluation):
    """How children, parents and the plain average are benchmarked: one harness, the same rows for all."""

    task_folder: TaskFolder = ""
    """A folder with lm-eval task YAML of your own, in the Pod: mount a ConfigMap there by `cluster.template`. lm-eval's
    tasks are known besides."""


class Evolution(searching.Evolution, Section):
    """Phase 2: real children, merged and benchmarked."""

    rules: ClassVar = (
        Rule(
            f"{or_default(searching.Evolution, 'steps')} * {or_default(searching.Evolution, 'candidates')} "
            f"<= {MAX_CHILDREN}",
            f"a cluster takes at most {MAX_CHILDREN} children (steps x candidates), since what is remembered of a run "
            "must fit into a ConfigMap; lower one of them, or run it on one machine",
            lambda evolution: evolution.steps * evolution.candidates <= MAX_CHILDREN,
        ),
    )


class Output(manifest.Output):
    """The child."""

    uri: OutputUri = ""
    """Where the child is published, once its health check has passed: `s3://bucket/prefix`, or `pvc://claim/path`, a
    folder on a PersistentVolumeClaim of the same namespace that user or group 10001 may write to. Default: it stays in
    the store."""
    hub: manifest.Hub | None = None
    """A model hub to which the child is uploaded too, the one that HF_ENDPOINT names; the token is HF_TOKEN, by
    `cluster.template.env` or in the Secret of `cluster.store`. The commit stands in the status."""


class StorePlace(manifest.StorePlace):
    """Where the experiment lives."""

    uri: StoreUri
    """One folder an experiment, `s3://bucket/prefix`. It is the truth from which a run goes on; nothing else is needed.
    Endpoint and credentials stand in `cluster.store`."""


def _changes() -> tuple[Rule, ...]:
    """What may change after creation: `cluster` but for its execution, and `evolution.steps` upwards."""
    paths: list[tuple[tuple[str, bool], ...]] = []
    for name, info in manifest.Spec.model_fields.items():
        section = (to_camel(name), info.is_required())
        if name == "evolution":
            paths += [
                (section, (to_camel(part), False)) for part in searching.Evolution.model_fields if part != "steps"
            ]
        elif name != "cluster":
            paths.append((section,))
    experiment = [
        immutable(
            path,
            f"spec.{'.'.join(name for name, _ in path)} is part of the experiment and can't change; create another "
            "DarwinMerge with another store",
        )
        for path in paths
    ]
    execution = immutable(
        [("cluster", False), ("execution", False)],
        "spec.cluster.execution can't change; delete this DarwinMerge and create it again with the same store, where "
        "what is done stays done",
    )
    steps = (
        "(has({0}.evolution) && has({0}.evolution.steps) ? {0}.evolution.steps : " + f"{searching.Evolution().steps})"
    )
    grows = Rule(
        f"{steps.format('self')} >= {steps.format('oldSelf')}",
        "spec.evolution.steps only grows, since what ran can't be undone: a revert in git won't sync; put the greater "
        "number back there",
    )
    return (*experiment, execution, grows)


class Spec(manifest.Spec):
    """The experiment, and how a cluster carries it out."""

    parents: Parents
    """The two models to merge."""
    evaluation: Evaluation
    """The benchmark and its rows."""
    evolution: Evolution = Evolution()
    """Phase 2, real children."""
    output: Output = Output()
    """The child."""
    store: StorePlace
    """Where the experiment lives."""
    cluster: Cluster = Cluster()  # type: ignore[assignment]
    """How a cluster carries the experiment out; of all of spec, only this may change, and `evolution.steps` upwards."""

    rules: ClassVar = _changes()


class DarwinMerge(Manifest):
    """An experiment: two fine-tunes of one base model, a benchmark and a store, evolved into a child whose verdict says
    whether it beats its parents."""

    numbers_only: ClassVar = True  # a schema can't take 0.7 and "0.7" both, and still compare them

    spec: Spec
    """The experiment, and how a cluster carries it out."""

    rules: ClassVar = (
        Rule(  # the server itself sees to the letters
            f"self.metadata.name.size() <= {NAME_LETTERS} && !self.metadata.name.contains('.')",
            f"metadata.name: at most {NAME_LETTERS} lower case letters, digits and dashes: Jobs are named after it",
        ),
    )

    def experiment(self) -> Experiment:
        """What the engine is told of it: all but how the cluster carries it out."""
        told = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"spec": {"cluster"}})
        plain = experiment_of(check(told, self.metadata.name, Manifest), Path("/"), self.spec.cluster.benchmark_device)
        return plain.model_copy(update={"limits": Limits(attempts=self.spec.cluster.backoff_limit + 1)})


def from_api(found: Mapping[str, Any]) -> DarwinMerge:
    """The DarwinMerge that an API server gave.

    Raises:
        BadConfiguration: this version can't take what an older or newer one accepted; every reason, a line each.
    """
    metadata = {name: found["metadata"][name] for name in ("name", "namespace") if name in found["metadata"]}
    document = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": found["spec"]}
    return check(document, f"{KIND} {metadata['name']}", DarwinMerge)

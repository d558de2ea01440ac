"""The DarwinMerge resource: the engine's manifest, where a cluster asks for more than a laptop does.

The engine's types stand as they are. What differs: places must be such that Pods reach them, `spec.cluster` is typed,
and what was once accepted doesn't change. A rule that the engine checks by itself has its CEL here, in
`ENGINE_RULES`, since the engine knows nothing of Kubernetes.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from darwinmerge.experiment import manifest
from darwinmerge.experiment.experiment import Experiment, Limits, experiment_of
from darwinmerge.experiment.kinds import KindRule
from darwinmerge.experiment.load import check
from darwinmerge.experiment.manifest import MAX_CANDIDATES, Manifest, Range, Transplant
from darwinmerge.experiment.types import Frozen
from darwinmerge.merge.methods import METHODS, Parameters
from darwinmerge.uri import MODEL, REVISION
from darwinmerge_operator.cluster_spec import Cluster
from darwinmerge_operator.rules import Rule, Section, immutable, literal, or_default

GROUP, VERSION, KIND, PLURAL = "darwinmerge.io", "v1alpha1", "DarwinMerge", "darwinmerges"
RETRY = f"{GROUP}/retry-requested-at"  # annotation: any new value is another try for whatever failed
MAX_CHILDREN = 3000  # of one run; see `ledger`
NAME_LETTERS = 36  # a Job's name holds it and says besides what the Job is for

_PATH = r"(/[^/\x00-\x1f]+)*/?"
_S3 = r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]" + _PATH
_HF = f"hf://{MODEL}(@{REVISION})?"
_PVC = r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?" + _PATH
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
    _place(f"({_S3})?", "in a cluster the child is published to s3://bucket/prefix, or left in the store"),
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


class Evaluation(manifest.Evaluation):
    """How children, parents and the plain average are benchmarked: one harness, the same rows for all."""

    task_folder: TaskFolder = ""
    """A folder with lm-eval task YAML of your own, in the Pod: mount a ConfigMap there by `cluster.template`. lm-eval's
    tasks are known besides."""


class Evolution(manifest.Evolution, Section):
    """Phase 2: real children, merged and benchmarked."""

    rules: ClassVar = (
        Rule(
            f"{or_default(manifest.Evolution, 'steps')} * {or_default(manifest.Evolution, 'candidates')} "
            f"<= {MAX_CHILDREN}",
            f"a cluster takes at most {MAX_CHILDREN} children (steps x candidates), since what is remembered of a run "
            "must fit into a ConfigMap; lower one of them, or run it on one machine",
            lambda evolution: evolution.steps * evolution.candidates <= MAX_CHILDREN,
        ),
    )


class Output(manifest.Output):
    """The child."""

    uri: OutputUri = ""
    """Where the child is published, once its health check has passed: `s3://bucket/prefix`. Default: it stays in the
    store."""
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
            paths += [(section, (to_camel(part), False)) for part in manifest.Evolution.model_fields if part != "steps"]
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
        "(has({0}.evolution) && has({0}.evolution.steps) ? {0}.evolution.steps : " + f"{manifest.Evolution().steps})"
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


def _evolution(field: str) -> str:
    return or_default(manifest.Evolution, field)


def _merge(field: str, path: str = "self") -> str:
    """CEL for a field of `path`, a `merge` that need not be there, or its default."""
    name = manifest.Merge.model_fields[field].alias
    there = " && ".join(f"has({part})" for part in [path] * (path != "self") + [f"{path}.{name}"])
    return f"({there} ? {path}.{name} : {literal(manifest.Merge.model_fields[field].default)})"


def _of_methods() -> Iterator[Rule]:
    """What `spec.merge` can't say for its method."""
    for field, info in Parameters.model_fields.items():
        methods = literal(manifest.having(str(info.alias)))
        yield Rule(
            f"{_merge('method')} in {methods} || {_merge(field)} == {literal(info.default)}",
            manifest.parameter_of(str(info.alias)),
        )
    yield Rule(
        f"{_merge('arithmetic')} != 'Source' || {_merge('method')} == 'DareTies'",
        f"{manifest.SOURCE_IS_DARE_TIES}; leave it out, or choose another method",
    )


def _of_base() -> Iterator[Rule]:
    """What `spec.merge` can't say with a base, or without one."""
    based, merge = "has(self.parents.base)", partial(_merge, path="self.merge")
    for kind, rule, message in (
        ("Needed", f"{based} ||", "moves from a base to both parents; name it at parents.base.uri"),
        ("Unused", f"!{based} ||", "has no use for parents.base; leave it out, or choose another method"),
    ):
        names = [method.name for method in METHODS.values() if method.base == kind]
        yield Rule(f"{rule} !({merge('method')} in {literal(names)})", f"merge.method {' or '.join(names)} {message}")
    yield Rule(
        f"!{based} || {merge('arithmetic')} != 'Source'", f"{manifest.SOURCE_IS_DARE_TIES}; leave one of them out"
    )
    plain = [
        f"{merge(field)} != 'L1'" if field == "rescale" else f"{merge(field)} == {literal(info.default)}"
        for field, info in Parameters.model_fields.items()
    ]
    yield Rule(f"{based} || {' && '.join(plain)}", manifest.ONLY_WITH_A_BASE)


ENGINE_RULES: Mapping[type[Frozen], tuple[Rule, ...]] = {
    manifest.Parents: (
        Rule("self.father.uri != self.mother.uri", "father and mother are the same model; there is nothing to merge"),
        Rule(
            "!has(self.base) || self.base.uri != self.father.uri && self.base.uri != self.mother.uri",
            manifest.BASE_IS_A_PARENT,
        ),
    ),
    manifest.Merge: tuple(_of_methods()),
    manifest.Spec: tuple(_of_base()),
    KindRule: (
        Rule(
            "''.matches(self.pattern) in [true, false]",
            "pattern is a regular expression without lookaround and back-references",
        ),
    ),
    Range: (Rule("self.min < self.max", "min must be below max"),),
    Transplant: (
        Rule(
            f"{or_default(Transplant, 'below')} < {or_default(Transplant, 'above')}",
            f"below must be less than above (defaults: {Transplant().below:g} and {Transplant().above:g})",
        ),
    ),
    manifest.Evolution: (
        Rule(
            f"{_evolution('algorithm')} != 'CMAES' || {_evolution('candidates')} >= 2",
            "CMAES needs at least 2 candidates a step; raise them, or use algorithm Elites or Genetic",
        ),
        Rule(
            f"{_evolution('algorithm')} != 'Elites' || "
            f"{_evolution('steps')} * {_evolution('candidates')} <= {MAX_CANDIDATES}",
            f"Elites takes at most {MAX_CANDIDATES} children (steps x candidates); lower one of them, or use algorithm "
            "CMAES or Genetic",
        ),
    ),
    manifest.Evaluation: (
        Rule(
            "self.tasks.all(one, self.tasks.exists_one(other, other.name == one.name))",
            "task named more than once; raise its weight instead",
        ),
        Rule(
            f"!has(self.modelArgs) || !self.modelArgs.matches('(^|,)({'|'.join(manifest.NOT_MODEL_ARGS)})=')",
            f"modelArgs can't hold {', '.join(manifest.NOT_MODEL_ARGS)}: {manifest.NOT_MODEL_ARGS_BECAUSE}",
        ),
    ),
}


def rules_of(model: type[Frozen]) -> tuple[Rule, ...]:
    """Every rule of a model, those included that the engine checks by itself."""
    own = tuple(rule for cls in model.__mro__ for rule in cls.__dict__.get("rules", ()))
    return (*own, *(rule for cls in model.__mro__ for rule in ENGINE_RULES.get(cls, ())))

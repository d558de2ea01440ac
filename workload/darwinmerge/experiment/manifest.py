"""The DarwinMerge manifest: what a person writes, as frozen types.

These types are the manual: each field's docstring becomes `kubectl explain` and `docs/`. Everything of
Kubernetes stands under `spec.cluster`, which the engine doesn't read, so that the same file runs on a laptop.
Every number of the published method is a setting whose default is the published value. Checks that need
two fields stand in the smallest type that holds both, so that all mistakes of a file are reported at once.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from darwinmerge.experiment.benchmark import Evaluation
from darwinmerge.experiment.fields import Seed, Size, Uri
from darwinmerge.experiment.kinds import DEFAULT_KINDS, KindRule
from darwinmerge.experiment.merging import Merge, base_refused
from darwinmerge.experiment.searching import Evolution, Search
from darwinmerge.experiment.types import DECIMAL, Frozen, NotNegative, Positive, Share
from darwinmerge.uri import MODEL, REVISION


class Whole(Frozen):
    """A whole model."""

    uri: Uri
    """Where the model folder (safetensors, config, tokenizer) lies: a path (relative to the manifest), `file://`,
    `s3://bucket/prefix`, `pvc://claim/path`, or `hf://org/name@revision` on a model hub. A branch or tag (default:
    `main`) is the commit that it is when the run begins, whatever it becomes later."""


class Parent(Whole):
    """One parent model: a whole one, or a LoRA adapter's folder as peft saves it."""

    base: Uri | Literal[""] = ""
    """Where the whole model lies that a LoRA adapter at `uri` is on. Default: the one that the adapter names, on a
    hub or in a folder of this machine."""


BASE_IS_A_PARENT = "base is one of the parents; leave it out, and DareTies takes Father for the base"


class Parents(Frozen):
    """The two models to merge: fine-tunes of one base, of one architecture and one tokenizer."""

    father: Parent
    """Parent A: the child starts from it, takes its configuration and tokenizer, and keeps its dtypes."""
    mother: Parent
    """Parent B: the child moves from Father towards it."""
    base: Whole | None = None
    """What both are fine-tunes of, for merge methods that move from it: it has the tensors that both parents have, in
    their shapes. It isn't diagnosed, scored or published."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.father.uri == self.mother.uri:
            raise ValueError("father and mother are the same model; there is nothing to merge")
        if self.base and self.base.uri in (self.father.uri, self.mother.uri):
            raise ValueError(BASE_IS_A_PARENT)
        return self


class Score(Frozen):
    """Weights of the diagnostic score: entropy x 0.5 + std x 0.3 + min(norm, 100) x 0.002."""

    entropy: NotNegative = 0.5
    """Weight of the Shannon entropy."""
    std: NotNegative = 0.3
    """Weight of the standard deviation."""
    norm: NotNegative = 0.002
    """Weight of the L2 norm."""
    norm_cap: Positive = 100.0
    """The L2 norm counts up to this value."""


class Mri(Frozen):
    """Phase 0, Model MRI: the diagnosis of every tensor of both parents."""

    weight: Share = 0.7
    """Share of the diagnosis in a tensor's final ratio; the genome has the rest. 0 and 1 are useful ablations."""
    bins: Annotated[int, Field(ge=2, le=65536)] = 256
    """Bins of the histogram whose entropy is taken, over the tensor's own minimum to maximum."""
    entropy_base: Annotated[float, Field(gt=1, allow_inf_nan=False), DECIMAL] = 2.0
    """Base of the entropy's logarithm; 2 gives bits."""
    score: Score = Score()
    """Weights of the three figures in a tensor's score."""
    degenerate: Literal["Neutral", "Published"] = "Neutral"
    """What a tensor does that has no distribution (empty, constant, non-finite) in either parent: Neutral gives it
    the ratio 0.5; Published lets the formula stand where it gives a number."""
    min_spread: Share = 0.01
    """Below this spread of the prescriptions (their size-weighted standard deviation over tensors that differ) the
    diagnosis is called not informative."""
    kinds: Annotated[tuple[KindRule, ...], Field(max_length=64)] = DEFAULT_KINDS
    """Kinds of tensors by name, first match wins; it decides which gene speaks for a tensor. Default: the naming of
    Llama, Qwen and their relatives."""


class Health(Frozen):
    """Phase 3: the child's layers beside its parents'."""

    divergence: Annotated[float, Field(ge=1, allow_inf_nan=False), DECIMAL] = 1.5
    """A layer whose output lies further from the nearer parent's than this multiple of the parents' distance from each
    other is flagged Diverged."""
    interference: Annotated[float, Field(gt=1, allow_inf_nan=False), DECIMAL] = 1.1
    """A layer whose importance exceeds this multiple of the greater parent's is flagged Interference."""
    displacement: Annotated[float, Field(ge=1, allow_inf_nan=False), DECIMAL] = 4.0
    """A layer that lies further from Father than this multiple of Mother's distance from him is flagged Displaced."""
    function_loss: Annotated[float, Field(gt=0, lt=1), DECIMAL] = 0.9
    """A layer whose importance is below this multiple of the lesser parent's is flagged FunctionLoss."""


class Hub(Frozen):
    """A repository on the model hub of `HF_ENDPOINT`; the token is `HF_TOKEN` of the environment, and no field."""

    repo: Annotated[str, Field(pattern=f"^{MODEL}$", max_length=200)]
    """`org/name`. It is created where it isn't there. Nothing but an earlier child of this experiment is ever replaced
    in it."""
    private: bool = True
    """Whether it is created private; one that is there stays as it is."""
    revision: Annotated[str, Field(pattern=f"^{REVISION}$", max_length=200)] = "main"
    """The branch to which the child is committed, created where it isn't there."""
    ignore_licence: bool = False
    """Upload although a parent's licence, as its model card tells it, forbids sharing what is made from it. By default
    that is refused when the run begins, and again before the upload."""

    @property
    def uri(self) -> str:
        """The branch, as a URI."""
        return f"hf://{self.repo}@{self.revision}"


class Output(Frozen):
    """The child."""

    uri: Uri | Literal[""] = ""
    """Where the child is published, once its health check has passed: a path (relative to the manifest), `file://`,
    `s3://bucket/prefix`, or `pvc://claim/path`. Default: it stays in the store."""
    hub: Hub | None = None
    """A model hub to which the child is uploaded too. The commit stands in the summary, the report and the status."""
    publish_if: Literal["Always", "NotWorse", "BeatsBoth"] = "NotWorse"
    """With which verdict the child leaves the store for `uri` and `hub`. NotWorse: with any but Worse, so not if it was
    found worse than one of its parents. BeatsBoth: only if it was found better than both. Always: with any. In the
    store it stays in any case; one that fails its health check is never published."""
    max_shard_size: Size = "5GB"
    """Greatest size of one safetensors file of the child."""


class StorePlace(Frozen):
    """Where the experiment lives."""

    uri: Uri
    """One folder an experiment, `file://` or a path relative to the manifest, or `s3://bucket/prefix`. It is the truth
    from which a run goes on; nothing else is needed."""
    retention: Literal["Best", "All"] = "Best"
    """What becomes of candidates that lie in the store as whole models (`execution: Staged`) once they are scored.
    Best: those that can't win any more are deleted after their generation. All: they stay."""


class Spec(Frozen):
    """The experiment."""

    parents: Parents
    """The two models to merge."""
    mri: Mri = Mri()
    """Phase 0, the diagnosis."""
    search: Search = Search()
    """Phase 1, the heuristic search."""
    merge: Merge = Merge()
    """How a child is computed."""
    evolution: Evolution = Evolution()
    """Phase 2, real children."""
    evaluation: Evaluation
    """The benchmark and its rows."""
    health: Health = Health()
    """Phase 3, the health check."""
    output: Output = Output()
    """The child."""
    store: StorePlace
    """Where the experiment lives."""
    seed: Seed = 0
    """The seed of everything random: masks, search, partition of rows, tests."""
    cluster: dict[str, Any] = Field(default_factory=dict)
    """Kubernetes' part (resources, queue, pod template); the engine doesn't read it."""

    @model_validator(mode="after")
    def _base_and_method(self) -> Self:
        reason = base_refused(self.merge, self.parents.base is not None)
        if reason:
            raise ValueError(reason)
        return self


class Metadata(Frozen):
    """The part of Kubernetes' metadata that a file carries."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=36)]
    """Name of the experiment: lower case letters, digits and dashes, at most 36."""
    namespace: str = ""
    """Kubernetes' namespace."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Kubernetes' labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Kubernetes' annotations."""


class Manifest(Frozen):
    """A DarwinMerge manifest."""

    numbers_only: ClassVar[bool] = False  # whether "0.7" is a mistake where 0.7 is meant
    api_version: Literal["darwinmerge.io/v1alpha1"]
    """darwinmerge.io/v1alpha1"""
    kind: Literal["DarwinMerge"]
    """DarwinMerge"""
    metadata: Metadata
    """Name and labels."""
    spec: Spec
    """The experiment."""

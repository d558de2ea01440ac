"""The DarwinMerge manifest: what a person writes, as frozen types.

These types are the manual: each field's docstring becomes `kubectl explain` and `docs/`. Everything of
Kubernetes stands under `spec.cluster`, which the engine doesn't read, so that the same file runs on a laptop.
Every number of the published method is a setting whose default is the published value. Checks that need
two fields stand in the smallest type that holds both, so that all mistakes of a file are reported at once.
"""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from darwinmerge.experiment.kinds import DEFAULT_KINDS, KindRule
from darwinmerge.experiment.types import (
    DECIMAL,
    Count,
    Density,
    Frozen,
    NotNegative,
    Positive,
    PositiveShare,
    Share,
    Side,
)
from darwinmerge.merge.methods import METHODS, MethodName, Parameters, dare_ties
from darwinmerge.uri import MODEL, REVISION

SCHEMES = ("file", "s3", "hf", "pvc")
MAX_CANDIDATES = 48  # of one generation: its genomes must fit into a 4 KiB termination message


def _uri(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    if found and scheme not in SCHEMES:
        raise ValueError(f"unknown scheme '{scheme}'; allowed: a path, " + ", ".join(f"{s}://" for s in SCHEMES))
    if found and not rest.strip("/"):
        raise ValueError("the URI names no place after its scheme")
    if re.search(r"[\x00-\x1f]", uri):
        raise ValueError("control characters are not allowed")
    if scheme == "s3" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", rest.partition("/")[0]):
        raise ValueError("write s3://bucket/prefix; access keys come from the environment or a Secret, never in a URI")
    return uri


SIZE = r"^(0*[1-9][0-9]*) ?([KMGT]i?)?B?$"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `500M`, `2Gi` or `1048576`.

    Raises:
        ValueError: it is none of these, or zero.
    """
    found = re.fullmatch(SIZE, text)
    if not found:
        raise ValueError("not a size; write for example 5GB, 500MB or 2GiB")
    return int(found.group(1)) * _UNITS[found.group(2) or ""]


def _size(text: str) -> str:
    parse_size(text)
    return text


Uri = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_uri)]
Size = Annotated[str, Field(max_length=32, json_schema_extra={"pattern": SIZE}), AfterValidator(_size)]
Word = Annotated[str, Field(max_length=256)]
NOT_MODEL_ARGS = (
    *("pretrained", "peft", "delta", "lora_local_path", "tokenizer", "tokenizer_revision"),
    *("revision", "subfolder", "hf_overrides", "trust_remote_code"),
)
NOT_MODEL_ARGS_BECAUSE = "which model is scored, with which tokenizer and no code of its own, is the run's to say"
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$"
ARGUMENTS = r"^([A-Za-z_][A-Za-z0-9_]*=[^,=]+(,[A-Za-z_][A-Za-z0-9_]*=[^,=]+)*)?$"  # lm-eval's way to write arguments
Arguments = Annotated[str, Field(pattern=ARGUMENTS, max_length=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]


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


class Range(Frozen):
    """Bounds of one gene."""

    min: Share
    """Lower bound."""
    max: Share
    """Upper bound."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        return self


class Densities(Range):
    """Bounds of a density, which is never 0: nothing would be kept."""

    min: Density
    """Lower bound."""


class Bounds(Frozen):
    """Bounds of the six genes."""

    ratio: Range = Range(min=0.0, max=1.0)
    """Norms, vision, multi-token prediction and all else that has no gene of its own."""
    attn: Range = Range(min=0.0, max=1.0)
    """Attention tensors."""
    ffn: Range = Range(min=0.0, max=1.0)
    """Feed-forward tensors."""
    embed: Range = Range(min=0.0, max=1.0)
    """Embeddings and the output head."""
    density_a: Densities = Densities(min=0.1, max=1.0)
    """Share of Father's task vector that is kept; without effect while Father himself is the base, and in methods
    without densities."""
    density_b: Densities = Densities(min=0.1, max=1.0)
    """Share of Mother's task vector that is kept; without effect in methods without densities."""


class Fitness(Frozen):
    """Phase 1's heuristic fitness. It predicts nothing about quality; it spreads the first real candidates."""

    balance: Share = 0.5
    """Weight of balance: how close the mean final ratio is to one half."""
    differentiation: Share = 0.4
    """Weight of differentiation: how close the spread of final ratios is to `targetSpread`."""
    density: Share = 0.1
    """Weight of density: how close density_b is to `targetDensity`; with a base, the mean of that over both."""
    target_spread: Positive = 0.05
    """The standard deviation of final ratios that differentiation likes best."""
    target_density: PositiveShare = 0.8
    """The density that the density term likes best."""


class Breeding(Frozen):
    """How Genetic makes a generation: from two of the best genomes so far by SLERP, then Gaussian mutation."""

    parents: PositiveShare = 0.5
    """How many of the best genomes measured so far are parents, as a share of a generation; always at least two."""
    decay: PositiveShare = 0.9
    """The mutation's step begins at `sigma0` and is multiplied by this after each generation of children."""


class Search(Frozen):
    """Phase 1: evolution of genomes on the heuristic fitness, without a single merge."""

    algorithm: Literal["CMAES", "Genetic"] = "CMAES"
    """CMAES: covariance matrix adaptation. Genetic: selection, SLERP crossover, Gaussian mutation. Either restarts
    from a seeded random point where it has converged."""
    steps: Annotated[int, Field(ge=1, le=10000)] = 200
    """Generations."""
    population: Annotated[int, Field(ge=2, le=1000)] = 20
    """Genomes a generation."""
    sigma0: Positive = 0.3
    """Initial step, as a share of a gene's range."""
    breeding: Breeding = Breeding()
    """What Genetic needs besides."""
    min_distance: Share = 0.1
    """Elites lie at least this far apart (greatest difference over the genes that have an effect)."""
    bounds: Bounds = Bounds()
    """Bounds of the genes, in Phase 1 and Phase 2."""
    fitness: Fitness = Fitness()
    """The heuristic's weights and targets."""


class Transplant(Frozen):
    """A tensor whose prescription is extreme is copied whole from one parent, without interpolation."""

    below: Share = 0.05
    """A prescription below this copies Father's tensor."""
    above: Share = 0.95
    """A prescription above this copies Mother's tensor."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.below >= self.above:
            raise ValueError(f"below {self.below:g} must be less than above {self.above:g}")
        return self

    def of(self, prescription: float, flag: str) -> Side | None:
        """Whose tensor is copied; None: it is merged, as is any whose diagnosis is flagged."""
        if flag or self.below <= prescription <= self.above:
            return None
        return "father" if prescription < self.below else "mother"


class Chosen(Frozen):
    """The method; a base of its own, so that its field stands first."""

    method: MethodName = "DareTies"
    """DareTies: child = A + (B - A) x mask x final ratio, with a random mask that keeps `density_b` of the elements;
    with `parents.base`, both differences from it are masked, and a sign elected. Ties: likewise, but each keeps its
    greatest elements. TaskArithmetic: the base and both differences, weighted. Both need a base. Slerp: along the arc
    between the parents. Linear: the weighted average. The last three have no densities."""


class Merge(Parameters, Chosen):
    """How a child is computed from its parents, tensor by tensor."""

    arithmetic: Literal["Float32", "Source"] = "Float32"
    """Float32: each operation in float32, one rounding to the tensor's dtype at the end. Source: each operation
    rounded to the tensor's dtype, the published code's letter on BF16 tensors."""
    dtype: Literal["Father", "bfloat16"] = "Father"
    """Dtype of the child's weights: Father's, tensor by tensor (what he has in float32 stays float32), or bfloat16 for
    all, the published code's letter."""
    transplant: Transplant = Transplant()
    """Thresholds of the direct copy."""
    one_sided: Literal["Fail", "Keep"] = "Fail"
    """Tensors that only one parent has: Fail refuses the pair by name; Keep takes them over unchanged."""

    @model_validator(mode="after")
    def _of_its_method(self) -> Self:
        strange = [parameter_of(name) for name in set_parameters(self) if self.method not in having(name)]
        if self.arithmetic == "Source" and self.method != dare_ties.METHOD.name:
            strange.append(f"{SOURCE_IS_DARE_TIES}; leave it out, or choose another method")
        if strange:
            raise ValueError("; ".join(strange))
        return self


ONLY_WITH_A_BASE = (
    "merge.lambda, merge.normalize and merge.rescale L1 need a base; name it at parents.base.uri, or leave them out"
)
SOURCE_IS_DARE_TIES = "arithmetic Source is the letter of DareTies without a base"


def set_parameters(merge: Merge) -> list[str]:
    """Names, as in a manifest, of the parameters of methods that aren't at their defaults."""
    fields = Parameters.model_fields
    return [str(info.alias) for field, info in fields.items() if getattr(merge, field) != info.default]


def having(parameter: str) -> list[str]:
    """The methods that have a parameter, named as in a manifest."""
    own = {name: {info.alias for info in method.parameters.model_fields.values()} for name, method in METHODS.items()}
    return [name for name, aliases in own.items() if parameter in aliases]


def parameter_of(parameter: str) -> str:
    """What is said where another method has been given it."""
    return f"{parameter} is a parameter of {', '.join(having(parameter))} only; leave it out, or choose another method"


class Evolution(Frozen):
    """Phase 2: real children, merged and benchmarked."""

    algorithm: Literal["CMAES", "Elites", "Genetic"] = "CMAES"
    """CMAES: the first generation is Phase 1's elites, then CMA-ES starts at the best of them. Genetic: the first
    generation is Phase 1's elites, and the others descend from it. Elites: step k merges the next elites of
    Phase 1, the published letter."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Generations. It may be raised after a run has ended: the run then goes on."""
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 4
    """Children a generation."""
    sigma0: Positive = 0.15
    """Initial step of CMAES and Genetic, as a share of a gene's range."""
    breeding: Breeding = Breeding()
    """What Genetic needs besides."""
    max_failed_candidates: Annotated[int, Field(ge=1, le=1000)] = 16
    """The run ends where more candidates than this are rejected: something is wrong that a search doesn't mend."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.algorithm == "CMAES" and self.candidates < 2:
            raise ValueError("CMAES needs at least 2 candidates a step; raise them, or use algorithm Elites or Genetic")
        if self.algorithm == "Elites" and self.steps * self.candidates > MAX_CANDIDATES:
            raise ValueError(
                f"Elites takes at most {MAX_CANDIDATES} children (steps x candidates is "
                f"{self.steps * self.candidates}); lower one of them, or use algorithm CMAES or Genetic"
            )
        return self


class SearchRows(Frozen):
    """Rows that the search may see."""

    splits: Annotated[tuple[Word, ...], Field(max_length=3)] = ()
    """Splits of the task's data set, by its own names; default: training and validation where the task has them,
    else the test split, of which the verdict's rows are first taken out."""
    rows: Count | Literal["All"] = "All"
    """How many rows score a candidate."""
    fresh: Count | Literal["Same"] = "Same"
    """How many further rows score the finalists again; Same: as many as `rows`, where that many are left."""


class VerdictRows(Frozen):
    """Rows kept for the verdict, which the search never sees."""

    split: Word = ""
    """A split of the task's data set; default: test, else validation."""
    rows: Count | Literal["All", "Half"] = "All"
    """How many rows; All of the split where the search uses other splits, else Half of it."""


class BenchmarkTask(Frozen):
    """One lm-eval task."""

    name: Annotated[str, Field(pattern=TASK_NAME, max_length=96)]
    """The name of a task or group of tasks as lm-eval knows it, or as a YAML file in `evaluation.taskFolder` declares
    it. Of a group each task is asked, with the weight that the group gives it."""
    metric: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+,[A-Za-z0-9_-]+$", max_length=128)] = "acc,none"
    """The metric's key as lm-eval writes it, for example `acc_norm,none`; a mean over questions within 0..1."""
    weight: Positive = 1.0
    """Weight of this task in the fitness and in the verdict."""
    num_fewshot: Annotated[int, Field(ge=0, le=64)] = 0
    """Examples before each question; never taken from verdict rows."""
    gen_kwargs: Arguments = ""
    """Arguments of text generation over the task's own, as lm-eval takes them: `max_gen_toks=64,temperature=0`."""
    group_by: Word = ""
    """A column: rows with an equal value in it stay on one side of the partition between search and verdict."""
    search: SearchRows = SearchRows()
    """Rows for the search."""
    verdict: VerdictRows = VerdictRows()
    """Rows for the verdict."""


class Evaluation(Frozen):
    """How children, parents and the plain average are benchmarked: one harness, the same rows for all."""

    tasks: Annotated[tuple[BenchmarkTask, ...], Field(min_length=1, max_length=16)]
    """The benchmark."""
    task_folder: Annotated[str, Field(max_length=1024)] = ""
    """A folder with lm-eval task YAML of your own, relative to the manifest; lm-eval's tasks are known besides."""
    allow_code: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    """Names of tasks that may run code: functions (`!function`) or classes that their YAML brings, a data set's own
    loader (`trust_remote_code`), answers of the model (`unsafe_code`). What is not named here is refused."""
    model: Word = "hf"
    """lm-eval's name of what runs the models: `hf` changes the weights of one resident model, with no disk; any other,
    `vllm` for example, gets each model as a folder."""
    model_args: Arguments = ""
    """Arguments of that model as lm-eval takes them: `gpu_memory_utilization=0.8,max_model_len=4096`."""
    chat_template: bool = False
    """Prompts go through the chat template of Father's tokenizer."""
    template_args: Arguments = ""
    """Arguments of the chat template: `enable_thinking=false`."""
    system_instruction: Annotated[str, Field(max_length=4096)] = ""
    """What stands before each prompt, as the system's turn where there is a chat template."""
    fewshot_as_multiturn: bool = True
    """With a chat template: each example is a turn of its own, as lm-eval has it."""
    samples: Literal["Finals", "Candidates"] = "Finals"
    """Whose answers are kept in lm-eval's own `samples_*.jsonl`: those of parents, average, finalists and verdict, or
    every candidate's too. Scores in lm-eval's `results_*.json` are kept for all."""
    finalists: Annotated[int, Field(ge=1, le=16)] = 3
    """The best candidates are scored again on fresh search rows, and the winner is chosen on all their rows."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype in which models are run; auto: as Father's config says. It doesn't change the child's own dtypes."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Requests a forward pass; part of the experiment, because padding moves log-likelihoods."""
    chunk: Annotated[int, Field(ge=1, le=100000)] = 64
    """Questions that are scored and stored together; an interrupted evaluation goes on after its last chunk."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    """CPU threads of a worker; part of the experiment, because threads move log-likelihoods."""
    alpha: Annotated[float, Field(gt=0, lt=0.5), DECIMAL] = 0.05
    """Level of the verdict's two-sided test."""
    min_difference: Annotated[float, Field(gt=0, lt=1), DECIMAL] = 0.05
    """The smallest difference from a parent that matters to you; `darwin validate` warns where the verdict's rows are
    too few to see it."""

    @model_validator(mode="after")
    def _of_the_engine_alone(self) -> Self:
        taken = re.search(rf"(^|,)({'|'.join(NOT_MODEL_ARGS)})=", self.model_args)
        if taken:
            raise ValueError(f"modelArgs can't hold {taken[2]}: {NOT_MODEL_ARGS_BECAUSE}")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"task named more than once: {', '.join(twice)}; raise its weight instead")
        return self


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
    """Where the child is published, once its health check has passed; default: it stays in the store."""
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


def base_refused(merge: Merge, base: bool) -> str:
    """Why a merge can't be with a base, or without one; empty: it can."""
    method = METHODS[merge.method]
    if base and method.base == "Unused":
        return f"merge.method {method.name} has no use for parents.base; leave it out, or choose another method"
    if base and merge.arithmetic == "Source":
        return f"{SOURCE_IS_DARE_TIES}; leave one of them out"
    if base:
        return ""
    if method.base == "Needed":
        return f"merge.method {method.name} moves from a base to both parents; name it at parents.base.uri"
    lacking = [name for name in set_parameters(merge) if name != "rescale" or merge.rescale == "L1"]
    return ONLY_WITH_A_BASE if lacking else ""


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

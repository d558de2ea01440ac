"""A PEFT LoRA adapter as a model folder: the model that it is on, changed tensor by tensor as it is read.

What an adapter does to a model is in two files: `adapter_config.json` and `adapter_model.safetensors`. The rule for the
first is closed: a field is applied, changes no weight (UNUSED), or the adapter is refused by the field's name, one that
this version has never heard of included; an adapter that is half applied would be another model. Every tensor of the
second must find its place.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from darwinmerge.checkpoint.digests import Digests
from darwinmerge.checkpoint.files import Files
from darwinmerge.checkpoint.folder import INDEX, SINGLE, Elements, Located, ModelFolder, header_of
from darwinmerge.checkpoint.header import TensorInfo
from darwinmerge.checkpoint.lora import Factor, LowRank, Replaced
from darwinmerge.checkpoint.names import is_embedding, is_head, spellings
from darwinmerge.checkpoint.overlay import Overlay
from darwinmerge.checkpoint.pair import declares_tying, repeats_embedding, same
from darwinmerge.errors import BadInput
from darwinmerge.experiment.types import first_mistake

N = TypeVar("N", int, float)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
REMEDY = "merge it with peft (merge_and_unload) and give that folder"
UNUSED = frozenset(  # of training, of the file, or of which modules have tensors, which the tensors themselves say
    {
        *("auto_mapping", "task_type", "inference_mode", "peft_version", "lora_dropout", "target_modules"),
        *("exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size"),
        *("runtime_config", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "modules_to_save"),
    }
)
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # other ways to start LoRA change the model that it is on
_FACTOR = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B)(?:\.default)?(?:\.weight)?")
_WHOLE = re.compile(r"(.+?)(?:\.modules_to_save(?:\.default)?|\.base_layer)?\.(weight|bias)")


class AdapterConfig(BaseModel):
    """What of `adapter_config.json` is applied."""

    model_config = ConfigDict(extra="allow", frozen=True)

    peft_type: str
    base_model_name_or_path: str | None = None
    revision: str | None = None
    r: int = Field(default=8, ge=1)
    lora_alpha: float = Field(default=8, allow_inf_nan=False)
    use_rslora: bool = False
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    fan_in_fan_out: bool = False
    bias: str = "none"
    init_lora_weights: bool | str | None = True
    ensure_weight_tying: bool = False

    def rank(self, module: str) -> int:
        """Rank of a module's factors."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """By what the product of a module's factors is multiplied."""
        alpha, rank = _by_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _by_pattern(patterns: Mapping[str, N], module: str, otherwise: N) -> N:
    """peft's rule: the first pattern that fits the end of the module's path, from a dot on."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), otherwise)


def is_adapter(files: Files) -> bool:
    """Whether a folder holds an adapter, and no whole model."""
    return CONFIG in files.sizes and not {SINGLE, INDEX} & files.sizes.keys()


def read_config(files: Files) -> AdapterConfig:
    """The configuration of an adapter that this version can apply.

    Raises:
        BadInput: it can't be read, or asks for what isn't applied; naming the fields.
    """
    where = f"{files}/{CONFIG}"
    try:
        found = json.loads(files.stretch(CONFIG, 0, files.sizes[CONFIG])[:].tobytes())
        config = AdapterConfig.model_validate(found)
        for pattern in (*config.rank_pattern, *config.alpha_pattern):
            re.compile(pattern)
    except (ValueError, RecursionError, re.error) as error:
        reason = first_mistake(error) if isinstance(error, ValueError) else str(error)
        raise BadInput(f"{where}: not an adapter's configuration: {reason}; download it again") from None
    refused = [f"{name}: {_shown(value)}" for name, value in (config.model_extra or {}).items() if _asks(name, value)]
    if config.peft_type != "LORA":
        refused.insert(0, f"peft_type: {config.peft_type}")
    if config.bias != "none":
        refused.append(f"bias: {config.bias}")
    if config.init_lora_weights is not None and config.init_lora_weights not in PLAIN_STARTS:
        refused.append(f"init_lora_weights: {config.init_lora_weights}, which changes the model that it is on")
    if refused:
        raise BadInput(f"{where}: this version doesn't apply {'; '.join(refused)}; {REMEDY}")
    return config


def _asks(name: str, value: Any) -> bool:
    return bool(value) and name not in UNUSED


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class AdaptedFolder(ModelFolder):
    """An adapter's folder over that of the model that it is on; its pin is over the files of both."""

    def __init__(self, base: Files, adapter: Files, digests: Digests | None = None) -> None:
        """Read the headers of both.

        Raises:
            BadInput: `base` is no whole model, or the adapter isn't one that can be applied to it.
        """
        config = read_config(adapter)
        if WEIGHTS not in adapter.sizes:
            raise BadInput(f"{adapter}: no {WEIGHTS} in it; save the adapter with peft as safetensors")
        super().__init__(Overlay(base, adapter, below={"config.json", SINGLE, INDEX}), digests)
        self._weights = [*self._weights, WEIGHTS, CONFIG]
        infos = header_of(adapter, WEIGHTS)
        factors, wholes = _sorted(infos, adapter)
        self._require_one_embedding(factors, wholes, config.ensure_weight_tying)
        changed = dict(self.tensors)
        for name, info in wholes.items():
            for place in self._places(name, f"tensor {name}"):
                changed[place] = self._replaced(changed[place], info)
        for module in sorted(
            factors, key=lambda module: is_head(f"{module}.weight")
        ):  # heads last, as peft merges them
            for place in self._places(f"{module}.weight", module):
                located = changed[place]
                update = _low_rank(located.info, module, factors[module], config, str(self))
                changed[place] = replace(located, changes=(*located.changes, update))
        self.tensors = changed

    @cached_property
    def _tied(self) -> list[str]:
        """Names of the model's embedding and, where a file repeats it, output head, if the two are one; else none."""
        heads, tables = ([name for name in self.tensors if fits(name)] for fits in (is_head, is_embedding))
        if heads and not (declares_tying(self.config) and repeats_embedding(self, heads[0])):
            return []
        return heads + tables

    def _places(self, name: str, what: str) -> list[str]:
        """The names of the tensors that an adapter's `name` stands for: several where a tied one is stored twice."""
        if _embeds(name) and self._tied:
            return self._tied
        fitting = [name] if name in self.tensors else [other for other in spellings(name) if other in self.tensors]
        if len(fitting) == 1:
            return fitting
        raise BadInput(
            f"{self}: the model has no {what}, which the adapter changes; give the model that it was made on"
        )

    def _replaced(self, own: Located, info: TensorInfo) -> Located:
        """A tensor of the adapter in place of the model's `own`, in its dtype."""
        place = own.info.name
        if own.info.shape != info.shape:
            raise BadInput(
                f"{self}: tensor {place}: the model has shape {own.info.shape}, the adapter {info.shape}; {REMEDY}"
            )
        if own.info.dtype == info.dtype:
            return Located(replace(info, name=place), WEIGHTS)
        return replace(own, changes=(Replaced(info, WEIGHTS),))

    def _require_one_embedding(self, factors: Collection[str], wholes: Mapping[str, TensorInfo], ensured: bool) -> None:
        """Refuse an adapter that makes two of a tied model's embedding and output head, as peft's merge of it would.

        Args:
            factors: modules that it has factors for; what these are on, it may bring too.
            wholes: tensors that it brings, by name.
            ensured: whether it says that what it brings for one is for the other too.
        """
        brought = sorted(filter(_embeds, wholes))
        if not brought or not self._tied:
            return
        layered = sorted(f"{module}.weight" for module in factors if _embeds(f"{module}.weight"))
        alone = [name for name in brought if name not in layered]
        why = ""
        if alone and layered:
            why = f"{' and '.join(alone)}, and factors for {' and '.join(layered)}"
        elif not all(self._alike(wholes[brought[0]], wholes[name]) for name in brought[1:]):
            why = f"{' and '.join(brought)}, which differ"
        elif len(alone) == 1 and not ensured:
            why = f"{alone[0]} only"
        if why:
            raise BadInput(f"{self}: embedding and output head are one (tied), and the adapter brings {why}; {REMEDY}")

    def _alike(self, *two: TensorInfo) -> bool:
        """Whether two tensors of the adapter are the same."""
        a, b = (Elements(self.files.stretch(WEIGHTS, of.start, of.stop), of, self.files.block) for of in two)
        return (two[0].dtype, two[0].shape) == (two[1].dtype, two[1].shape) and same(a, b, self.files.threads)


def _embeds(name: str) -> bool:
    return is_embedding(name) or is_head(name)


def _sorted(
    infos: Mapping[str, TensorInfo], where: Files
) -> tuple[dict[str, dict[str, TensorInfo]], dict[str, TensorInfo]]:
    """An adapter's tensors: factors by module and part, and whole tensors by name."""
    factors: dict[str, dict[str, TensorInfo]] = {}
    wholes: dict[str, TensorInfo] = {}
    for name, info in infos.items():
        own = name.removeprefix("base_model.model.")
        if found := _FACTOR.fullmatch(own):
            factors.setdefault(found[1], {})[found[2]] = info
        elif (found := _WHOLE.fullmatch(own)) and ".lora_" not in own:
            wholes[f"{found[1]}.{found[2]}"] = info
        else:
            raise BadInput(f"{where}/{WEIGHTS}: tensor {name}: this version doesn't apply such; {REMEDY}")
    if not factors and not wholes:
        raise BadInput(f"{where}/{WEIGHTS}: no tensors in it")
    return factors, wholes


def _low_rank(
    own: TensorInfo, module: str, pair: Mapping[str, TensorInfo], config: AdapterConfig, where: str
) -> LowRank:
    """What two factors do to a tensor of shape (out, in), or (in, out) where the layer has it so.

    Raises:
        BadInput: a factor is missing, or the shapes don't fit.
    """
    kind = "embedding_" if "embedding_A" in pair else ""
    if pair.keys() != {f"{kind}A", f"{kind}B"}:
        raise BadInput(f"{where}: {module}: of its factors there is only lora_{', lora_'.join(sorted(pair))}")
    a, b = pair[f"{kind}A"], pair[f"{kind}B"]  # shapes (rank, in) and (out, rank)
    shapes = f"model {own.shape}, factors {b.shape} and {a.shape}, rank {config.rank(module)}"
    if len(own.shape) != 2 or own.dtype == "F64":
        raise BadInput(f"{where}: {module}: {own.dtype}, {shapes}: only matrices up to 32 bits are applied; {REMEDY}")
    straight = len(a.shape) == len(b.shape) == 2 and (b.shape[0], a.shape[1]) == own.shape
    turned = len(a.shape) == len(b.shape) == 2 and (a.shape[1], b.shape[0]) == own.shape
    fits = a.shape[:1] == b.shape[1:] == (config.rank(module),) and (turned if kind else straight or turned)
    if not fits:
        raise BadInput(f"{where}: {module}: shapes don't fit: {shapes}; give the model that the adapter was made on")
    across = bool(kind) or not straight or (config.fan_in_fan_out and turned)
    left, right = (
        (Factor(a, WEIGHTS, True), Factor(b, WEIGHTS, True))
        if across
        else (
            Factor(b, WEIGHTS, False),
            Factor(a, WEIGHTS, False),
        )
    )
    return LowRank(left, right, config.scale(module))

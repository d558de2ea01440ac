"""One model that stays in memory and becomes every candidate in turn: no disk, no reload, no imports.

File and model call their tensors by names that may differ. The map between them is explicit, and checked when
the model is loaded: every weight of the model must be, bit for bit, the tensor of Father's file that it is
mapped to. So what is scored is what is exported.
"""

import os
import platform
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch

from darwinmerge.checkpoint.dtypes import DTYPES, Bits
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.names import outside_text, spellings
from darwinmerge.errors import BadConfiguration, BadInput, machine_fault
from darwinmerge.evaluation.harness import quiet
from darwinmerge.merge.arithmetic import child_info, merged_tensors
from darwinmerge.merge.drawn import Draws
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.pipeline.tasks import Terms


class Resident:
    """Father's model with replaceable weights, wrapped for lm-eval."""

    def __init__(self, father: ModelFolder, terms: Terms, device: str) -> None:
        """Load Father on `device` and check the name map.

        Raises:
            BadInput: the model's weights are not those of its file.
        """
        quiet()
        import huggingface_hub.constants  # noqa: F401 - what it says of being offline holds: a parent may come from there

        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is at hand: no other program is to fetch anything
        from lm_eval.models.huggingface import HFLM
        from lm_eval.utils import simple_parse_args_string

        torch.set_num_threads(terms.threads)
        try:
            model = load(father, terms.dtype)
            tokenizer = tokenizer_of(father)
        except (ValueError, OSError, KeyError) as error:
            if machine_fault(error):
                raise
            raise BadInput(f"{father}: transformers can't load it: {error}") from error
        self._model = model.to(device).eval()
        self._names = name_map(father, self._model.state_dict())
        self._weights = dict(self._model.state_dict())
        at = {name: self._weights[target].data_ptr() for name, target in self._names.items()}
        several = {place for place, count in Counter(at.values()).items() if count > 1}
        self._tied = {name for name, place in at.items() if place in several}  # the last one counts: one at a time
        self._verify(father)
        arguments = {"batch_size": terms.batch_size, "device": device} | simple_parse_args_string(terms.model_args)
        try:
            self.lm = HFLM(pretrained=self._model, tokenizer=tokenizer, **arguments)
        except TypeError as error:
            raise BadConfiguration(f"spec.evaluation.modelArgs: {error}") from error
        self.recipe = ""  # whose child it is now
        self._draws = Draws()
        self._origins: dict[str, tuple[object, ...]] = {}  # of the weights, as far as they are known

    def become(self, recipe: Recipe, father: ModelFolder, mother: ModelFolder, base: ModelFolder | None = None) -> None:
        """Replace the weights by those of the recipe's child; those that it shares with the child before it stay."""
        if self.recipe == recipe.id:
            return
        held, self._origins, self.recipe = self._origins, {}, ""  # whatever happens in between is no recipe's child
        origins = {d.name: recipe.origin(d) for d in recipe.decisions if self._changes(d, father)}
        wanted = [d for d in recipe.decisions if d.name in origins and held.get(d.name) != origins[d.name]]
        dtypes = {d.name: child_info(d, recipe, father, mother).dtype for d in wanted}
        places = {name: place for name, dtype in dtypes.items() if (place := self._place(name, dtype)) is not None}
        with torch.no_grad():
            tensors = merged_tensors(wanted, recipe, father, mother, base, into=places, draws=self._draws)
            for decision, (bits, dtype) in zip(wanted, tensors, strict=True):
                if decision.name not in places:
                    weight = self._weights[self._names[decision.name]]
                    weight.copy_(as_torch(bits, dtype).view(weight.shape))
        self._origins, self.recipe = origins, recipe.id

    def hold(self, child: ModelFolder, recipe: str) -> None:
        """Take the weights of a child that is written already."""
        if self.recipe == recipe:
            return
        self._origins, self.recipe = {}, ""
        with torch.no_grad():
            for (name, target), bits in zip(self._names.items(), child.whole(self._names), strict=True):
                weight = self._weights[target]
                weight.copy_(as_torch(bits, child.info(name).dtype).view(weight.shape))
        self.recipe = recipe

    def _place(self, name: str, dtype: str) -> Bits | None:
        """The memory of a weight that holds `dtype` as it is, and of no other tensor: then nothing is copied."""
        weight, bits = self._weights[self._names[name]], DTYPES[dtype].bits
        same = as_torch(np.empty(0, bits), dtype).dtype == weight.dtype
        if not same or weight.device.type != "cpu" or not weight.is_contiguous() or name in self._tied:
            return None
        place: Bits = weight.view(-1).view(torch.uint8).numpy().view(bits)
        return place

    def _changes(self, decision: Decision, father: ModelFolder) -> bool:
        """Whether a tensor of the model may differ from one child to the next; what `merge.dtype` casts may."""
        still = decision.account == "identical" and father.info(decision.name).dtype == "BF16"
        return decision.name in self._names and not still

    def _verify(self, father: ModelFolder) -> None:
        for (name, target), bits in zip(self._names.items(), father.whole(self._names), strict=True):
            weight = self._weights[target]
            expected = as_torch(bits, father.info(name).dtype).to(weight.dtype)
            found = weight.detach().cpu().reshape(-1)
            if found.shape != expected.shape or not torch.equal(_words(found), _words(expected)):
                raise BadInput(
                    f"{father}: transformers' {type(self._model).__name__} doesn't hold tensor {name} as the file "
                    f"has it (looked for at {target}); this architecture can't be scored in memory yet"
                )


def tokenizer_of(folder: ModelFolder) -> Any:
    """transformers' tokenizer of a folder."""
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    return auto.from_pretrained(folder.path, trust_remote_code=False)


def chat_template(folder: ModelFolder, arguments: str) -> Callable[..., str]:
    """From turns to a prompt, by the chat template of a folder's tokenizer.

    Raises:
        BadInput: it has none.
    """
    from lm_eval.utils import simple_parse_args_string

    tokenizer, given = tokenizer_of(folder), simple_parse_args_string(arguments)
    if not tokenizer.chat_template:
        raise BadInput(f"{folder}: spec.evaluation.chatTemplate, but its tokenizer has no chat template")

    def prompt(turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        going_on = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **going_on, **given))

    return prompt


def load(folder: ModelFolder, dtype: str) -> Any:
    """transformers' model of a folder, wherever it lies: it gets the weights as tensors, and only the rest as files.

    Raises:
        ValueError, OSError, KeyError: transformers can't load it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    auto: Any = AutoModelForCausalLM
    config = AutoConfig.from_pretrained(folder.path, trust_remote_code=False)
    with torch.device("meta"):  # no weights: which class it is, and the part of the config that is this class's
        skeleton = auto.from_config(config, trust_remote_code=False)
    weights = {}
    for name, bits in zip(folder.tensors, folder.whole(folder.tensors), strict=True):
        info = folder.info(name)
        # In memory of torch's own: how an array is aligned may change the last bits of a product.
        weights[name] = as_torch(bits, info.dtype).view(info.shape).clone()
    told = (folder.path / "generation_config.json").exists()
    generation = GenerationConfig.from_pretrained(folder.path) if told else None
    return type(skeleton).from_pretrained(
        None, config=skeleton.config, state_dict=weights, generation_config=generation, dtype=dtype
    )


def name_map(father: ModelFolder, weights: dict[str, Any]) -> dict[str, str]:
    """From tensor names of the file to those of the model.

    Raises:
        BadInput: a weight of the model has no tensor in the file, or a tensor no weight in the model.
    """
    names: dict[str, str] = {}
    for name in father.tensors:
        target = next((s for s in (name, *spellings(name)) if s in weights), None)
        if target is not None:
            names[name] = target
        elif not outside_text(name):
            raise BadInput(f"{father}: the model that transformers builds has no tensor {name}")
    storages = {weights[target].data_ptr() for target in names.values()}
    missing = [name for name, w in weights.items() if name not in names.values() and w.data_ptr() not in storages]
    if missing:
        raise BadInput(f"{father}: no tensor in the file for the model's {', '.join(sorted(missing)[:5])}")
    return names


def as_torch(bits: Bits, dtype: str) -> torch.Tensor:
    """A flat tensor over numpy elements; BF16 from its uint16 bits."""
    array = np.require(bits, requirements="W")  # a copy of what is read-only: torch warns of it
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) if dtype == "BF16" else torch.from_numpy(array)


def environment(device: str, terms: Terms) -> dict[str, str]:
    """What moves log-likelihoods besides weights and prompts; recorded with every score."""
    import lm_eval
    import transformers

    kind = torch.device(device).type
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    hardware = torch.cuda.get_device_name(device) if kind == "cuda" else cpu
    return {
        "device": kind,
        "hardware": hardware,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lm_eval": lm_eval.__version__,
        "threads": str(terms.threads),
        **_engine(terms.model),
    }


def _engine(model: str) -> dict[str, str]:
    """What runs the models, where it isn't transformers in this process."""
    if model == "hf":
        return {}
    try:
        return {"model": f"{model} {metadata.version(model)}"}
    except metadata.PackageNotFoundError:
        return {"model": model}  # a part of lm-eval's, whose version is told


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Elements as integers, so that NaN equals NaN and -0 differs from 0."""
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(sizes[tensor.element_size()])

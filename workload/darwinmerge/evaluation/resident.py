"""One model that stays in memory and becomes every candidate in turn: no disk, no reload, no imports.

File and model call their tensors by names that may differ. The map between them is explicit, and checked when
the model is loaded: every weight of the model must be, bit for bit, the tensor of Father's file that it is
mapped to. So what is scored is what is exported.
"""

import os
import platform
from typing import Any

import numpy as np
import torch

from darwinmerge.checkpoint.dtypes import Bits
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.names import outside_text, spellings
from darwinmerge.errors import BadInput
from darwinmerge.evaluation.harness import quiet
from darwinmerge.merge.arithmetic import merged_tensor
from darwinmerge.merge.recipe import Recipe
from darwinmerge.pipeline.tasks import Terms


class Resident:
    """Father's model with replaceable weights, wrapped for lm-eval."""

    def __init__(self, father: ModelFolder, terms: Terms, device: str) -> None:
        """Load Father on `device` and check the name map.

        Raises:
            BadInput: the model's weights are not those of its file.
        """
        quiet()
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is on disk: nothing is to be fetched
        from lm_eval.models.huggingface import HFLM
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(terms.threads)
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(father.path, dtype=terms.dtype, trust_remote_code=False)
            tokenizer: Any = AutoTokenizer.from_pretrained(father.path, trust_remote_code=False)
        except (ValueError, OSError, KeyError) as error:
            raise BadInput(f"{father.path}: transformers can't load it: {error}") from error
        self._model = model.to(device).eval()
        self._names = name_map(father, self._model.state_dict())
        self._weights = dict(self._model.state_dict())
        self._verify(father)
        self.lm = HFLM(pretrained=self._model, tokenizer=tokenizer, batch_size=terms.batch_size, device=device)
        self.recipe = ""  # whose child it is now

    def become(self, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> None:
        """Replace the weights by those of the recipe's child."""
        if self.recipe == recipe.id:
            return
        self.recipe = ""  # whatever happens in between is no recipe's child
        with torch.no_grad():
            for decision in recipe.decisions:
                target = self._names.get(decision.name)
                if target is None or (decision.account == "identical" and father.info(decision.name).dtype == "BF16"):
                    continue  # it never changes; what `merge.dtype` casts may
                bits, dtype = merged_tensor(decision, recipe, father, mother)
                weight = self._weights[target]
                weight.copy_(as_torch(bits, dtype).view(weight.shape))
        self.recipe = recipe.id

    def hold(self, child: ModelFolder, recipe: str) -> None:
        """Take the weights of a child that is written already."""
        if self.recipe == recipe:
            return
        self.recipe = ""
        with torch.no_grad():
            for name, target in self._names.items():
                weight = self._weights[target]
                weight.copy_(as_torch(child.bits(name), child.info(name).dtype).view(weight.shape))
        self.recipe = recipe

    def _verify(self, father: ModelFolder) -> None:
        for name, target in self._names.items():
            weight = self._weights[target]
            expected = as_torch(father.bits(name), father.info(name).dtype).to(weight.dtype)
            found = weight.detach().cpu().reshape(-1)
            if found.shape != expected.shape or not torch.equal(_words(found), _words(expected)):
                raise BadInput(
                    f"{father.path}: transformers' {type(self._model).__name__} doesn't hold tensor {name} as the file "
                    f"has it (looked for at {target}); this architecture can't be scored in memory yet"
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
            raise BadInput(f"{father.path}: the model that transformers builds has no tensor {name}")
    storages = {weights[target].data_ptr() for target in names.values()}
    missing = [name for name, w in weights.items() if name not in names.values() and w.data_ptr() not in storages]
    if missing:
        raise BadInput(f"{father.path}: no tensor in the file for the model's {', '.join(sorted(missing)[:5])}")
    return names


def as_torch(bits: Bits, dtype: str) -> torch.Tensor:
    """A flat tensor over numpy elements; BF16 from its uint16 bits."""
    array = np.array(bits)  # torch warns of read-only maps
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
    }


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Elements as integers, so that NaN equals NaN and -0 differs from 0."""
    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(sizes[tensor.element_size()])

"""Adapters on small models, drawn at random or written tensor by tensor, and what peft makes of them; for tests."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darwinmerge.checkpoint.adapter import CONFIG, WEIGHTS
from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.checkpoint.folder import ModelFolder
from tests.build import file_bytes, normal, tensor

Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
MODULES = ["q_proj", "v_proj", "down_proj"]
STEM = f"base_model.model.{Q.removesuffix('.weight')}"
A, B = f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"
FITTING = {A: tensor(normal(1, 4, 32)), B: tensor(normal(2, 32, 4))}
SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 96}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def llama(folder: Path, tied: bool, dtype: torch.dtype = torch.bfloat16, **shape: Any) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    model: Any = LlamaForCausalLM(LlamaConfig(**{**SMALL, "tie_word_embeddings": tied, **shape}))
    model.to(dtype).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    """An adapter on a model, its factors drawn at random: as after training."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    given: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": MODULES, "task_type": "CAUSAL_LM"} | options
    model: Any = get_peft_model(auto.from_pretrained(base, dtype="auto"), LoraConfig(**given))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.05)
    (model if dtype == torch.float32 else model.to(dtype)).save_pretrained(folder)
    return folder


def merged(base: Path, folder: Path) -> Mapping[str, torch.Tensor]:
    """What peft makes of both."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model: Any = PeftModel.from_pretrained(auto.from_pretrained(base, dtype="auto"), folder)
    state: Mapping[str, torch.Tensor] = model.merge_and_unload().state_dict()
    return state


def values(folder: ModelFolder, name: str) -> NDArray[np.float32]:
    info = folder.info(name)
    return widen(folder.bits(name), info.dtype).reshape(info.shape)


def steps(folder: ModelFolder, base: ModelFolder, expected: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """How far each tensor is from peft's, in steps of bfloat16 at the greatest number that the sum goes through.

    Of a tensor with several changes, each of which both round: in as many steps.
    """
    found = {}
    for name in folder.tensors:
        ours, peft = values(folder, name), expected[name].float().numpy()
        assert ours.shape == peft.shape, name
        way = [values(base, name), *midway(folder, name), peft]
        sums = [np.abs(values) for values in (ours, *way, *np.diff(way, axis=0))]
        _, exponent = np.frexp(np.maximum(np.maximum.reduce(sums), np.float32(1e-30)))
        allowed = np.ldexp(np.float32(max(1, len(folder.tensors[name].changes))), exponent - 8)
        found[name] = float((np.abs(ours - peft) / allowed).max())
    return found


def midway(folder: ModelFolder, name: str) -> list[NDArray[np.float32]]:
    """A tensor after each of its changes but the last."""
    located, cut = folder.tensors[name], copy.copy(folder)
    found = []
    for count in range(1, len(located.changes)):
        cut.tensors = {name: replace(located, changes=located.changes[:count])}
        found.append(values(cut, name))
    return found


def write_adapter(folder: Path, tensors: Mapping[str, Any], **config: Any) -> Path:
    """An adapter's folder as peft saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(file_bytes(tensors))
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}))
    return folder

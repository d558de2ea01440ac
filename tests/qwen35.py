"""A pair of tiny Qwen3.5 folders with everything in them that a checkpoint of that family can have.

A hybrid text model (Gated DeltaNet and full attention), a vision tower with a 3-D convolution, F32 tensors among
BF16 ones, an integer buffer, and an extra prediction head (`mtp.*`) that only Father has. Random weights: what
is tested is what becomes of the tensors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darwinmerge.checkpoint.dtypes import narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from tests.build import Tensor, normal, tensor, write_model

TEXT = "model.language_model."
BUFFER = "model.visual.position_ids"
CONV3D = "model.visual.patch_embed.proj.weight"
FROM_MOTHER = "model.visual.merger.linear_fc2.weight"  # Mother's is so wide that her score is all of the sum
FROM_FATHER = "model.visual.pos_embed.weight"  # the other way round
SHARDS = 6
ROPE = {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_section": [1, 1, 0]}


class Pair(NamedTuple):
    """Both parents, as they lie on disk and as what they were made of."""

    father: ModelFolder
    mother: ModelFolder
    of_father: dict[str, Tensor]
    of_mother: dict[str, Tensor]


def changed(name: str) -> bool:
    """Whether Mother's training touched this tensor: all of the text model but its BF16 norms; the 3-D convolution."""
    trained = name.startswith((TEXT, "lm_head")) and ("norm" not in name or name.endswith("linear_attn.norm.weight"))
    return trained or name in (CONV3D, FROM_MOTHER, FROM_FATHER)


def make_pair(path: Path, mothers_name: Callable[[str], str | None] = lambda name: name) -> Pair:
    """Father and Mother in `path`; `mothers_name` renames Mother's tensors, or leaves them out where it gives None."""
    father, config = _fresh()
    mother = {name: _noisy(held, seed) if changed(name) else held for seed, (name, held) in enumerate(father.items())}
    father[FROM_FATHER] = _scaled(father[FROM_FATHER], 2.0**20)
    mother[FROM_MOTHER] = _scaled(mother[FROM_MOTHER], 2.0**20)
    father |= {
        "mtp.fc.weight": tensor(normal(1, 64, 128)),
        "mtp.layers.0.mlp.up_proj.weight": tensor(normal(2, 128, 64)),
        "mtp.layers.0.self_attn.q_proj.weight": tensor(normal(3, 128, 64)),
        "mtp.norm.weight": tensor(normal(4, 64)),
    }
    named = {new: held for name, held in mother.items() if (new := mothers_name(name)) is not None}
    return Pair(
        write_model(path / "father", father, SHARDS, **config),
        write_model(path / "mother", named, SHARDS, **config),
        father,
        mother,
    )


def _fresh() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A new model's tensors by the names of its file, and its config."""
    import torch
    import transformers

    library: Any = transformers  # its types don't know its own configurations
    text = {
        **{"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "head_dim": 16},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
        **{"linear_key_head_dim": 16, "linear_value_head_dim": 16, "max_position_embeddings": 256},
        "rope_parameters": {**ROPE, "mrope_interleaved": True},
    }
    vision = {
        **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64},
        **{"num_position_embeddings": 16, "patch_size": 4},
    }
    tokens = {"image_token_id": 500, "video_token_id": 501, "vision_start_token_id": 502, "vision_end_token_id": 503}
    config: Any = library.Qwen3_5Config(text_config=text, vision_config=vision, **tokens)
    config.dtype = torch.bfloat16
    torch.manual_seed(0)
    model: Any = library.Qwen3_5ForConditionalGeneration(config)
    held: dict[str, Tensor] = {}
    for name, weights in model.state_dict().items():
        dtype = "F32" if name.endswith(("A_log", "linear_attn.norm.weight")) else "BF16"
        held[name] = tensor(weights.detach().float().numpy(), dtype)
    held[BUFFER] = tensor(np.arange(16), "I64")
    return held, {**config.to_dict(), "architectures": ["Qwen3_5ForConditionalGeneration"]}


def _noisy(held: Tensor, seed: int) -> Tensor:
    noise = normal(seed, *held.shape, scale=0.005).astype(np.float32).ravel()
    return held._replace(bits=narrow(widen(held.bits, held.dtype) + noise, held.dtype))


def _scaled(held: Tensor, factor: float) -> Tensor:
    return held._replace(bits=narrow(widen(held.bits, held.dtype) * np.float32(factor), held.dtype))

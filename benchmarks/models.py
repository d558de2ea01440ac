"""Two model folders of 1.1 B parameters with the shapes of TinyLlama, in bfloat16, 2.2 GB each: what is measured on.

No model hub is needed: the weights are random, the same on every run, and Mother is Father with noise a tenth as
large, as after fine-tuning with a heavy hand. Speed depends on shapes and dtype, not on what a model knows. The folders
are complete, with a configuration and a tokenizer, since mergekit asks transformers for both. A finished folder is kept
and found again; one that was interrupted is made anew.
"""

import argparse
import json
import shutil
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WORK = Path(__file__).resolve().parents[1] / "build" / "bench"
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 22, 32, 4, 32000
KEYS = HIDDEN // HEADS * KV_HEADS
SPREAD, NOISE = 0.02, 0.002  # standard deviations of Father's weights, and of what Mother differs by
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "dtype": "bfloat16",
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": SPREAD,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": VOCABULARY,
}
SPECIAL = ("<unk>", "<s>", "</s>")


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model of so many layers."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    for layer in range(layers):
        found |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (HIDDEN,),
                "self_attn.q_proj": (HIDDEN, HIDDEN),
                "self_attn.k_proj": (KEYS, HIDDEN),
                "self_attn.v_proj": (KEYS, HIDDEN),
                "self_attn.o_proj": (HIDDEN, HIDDEN),
                "post_attention_layernorm": (HIDDEN,),
                "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
                "mlp.up_proj": (INTERMEDIATE, HIDDEN),
                "mlp.down_proj": (HIDDEN, INTERMEDIATE),
            }.items()
        }
    return found


def make(folder: Path, noise: float, layers: int) -> None:
    """Write a folder beside its place and rename it: Father with noise of this standard deviation added."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    def weights(name: str, shape: tuple[int, ...]) -> "torch.Tensor":
        def normal(of: str, spread: float) -> "torch.Tensor":
            draws = np.random.Generator(np.random.SFC64(zlib.crc32(f"{of} {name}".encode())))
            return torch.from_numpy(draws.standard_normal(shape, dtype=np.float32)).mul_(spread)

        tensor = normal("father", SPREAD)
        if len(shape) == 1:
            tensor += 1  # a norm's weights
        tensor = tensor.bfloat16()
        return (tensor + normal("noise", noise)).bfloat16() if noise else tensor

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        wanted = shapes(layers)
        tensors = dict(zip(wanted, pool.map(weights, wanted.keys(), wanted.values()), strict=True))
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}, indent=2) + "\n")
    for name, content in tokenizer().items():
        (partial / name).write_text(json.dumps(content) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def tokenizer() -> dict[str, object]:
    """The files of a tokenizer of whole words that means nothing, and has the model's vocabulary."""
    words = [*SPECIAL, *(f"word{number}" for number in range(VOCABULARY - len(SPECIAL)))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": SPECIAL[0]}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": word, **flags} for i, word in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        **dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=True)),
    }
    return {"tokenizer.json": description, "tokenizer_config.json": settings}


def main() -> None:
    """Make the folders that aren't there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--work", type=Path, default=WORK, help="where father/ and mother/ go (default: build/bench)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of each model (default: %(default)s)")
    given = parser.parse_args()
    work: Path = given.work
    for name, noise in {"father": 0.0, "mother": NOISE}.items():
        if not (work / name).is_dir():
            started = time.monotonic()
            make(work / name, noise, given.layers)
            print(f"{name}: made in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()

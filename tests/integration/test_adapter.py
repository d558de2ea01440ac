"""An adapter as a parent is what peft's own merge makes of it, within a step of the dtype, and the same everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from darwinmerge.checkpoint.adapter import WEIGHTS
from darwinmerge.checkpoint.opening import open_model
from tests.build import normal, tensor, write_model
from tests.integration.adapted import Q, adapter, llama, merged, steps, values, write_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in bfloat16 whose head is its own."""
    return llama(tmp_path_factory.mktemp("base"), tied=False)


def gpt2(folder: Path) -> Path:
    """A model whose matrices lie the other way round (Conv1D), some of them square."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    model: Any = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=96, n_positions=16))
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank one": {"r": 1},
    "a scale that rounds": {"r": 3, "lora_alpha": 7},
    "rslora": {"use_rslora": True, "r": 5},
    "rank and alpha patterns": {
        "rank_pattern": {"layers.0.self_attn.q_proj": 2, "down_proj": 6},
        "alpha_pattern": {"q_proj": 3, r"layers\.[1]\..*v_proj": 32},
    },
    "some layers": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded modules": {"exclude_modules": r".*layers\.0\..*"},
    "modules saved whole": {"modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    "embedding and head": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "factors in bfloat16": {"dtype": torch.bfloat16},
    "another start": {"init_lora_weights": "gaussian"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option_gives_what_peft_gives(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    adapter(base, tmp_path / "adapter", **options)
    folder, plain = open_model(str(tmp_path / "adapter"), base=str(base)), open_model(str(base))
    assert folder.tensors.keys() == plain.tensors.keys()
    assert max(steps(folder, plain, merged(base, tmp_path / "adapter")).values()) <= 1
    changed = [name for name in folder.tensors if folder.bits(name).tobytes() != plain.bits(name).tobytes()]
    brought = [name for name, found in folder.tensors.items() if found.changes or found.file == WEIGHTS]
    assert sorted(changed) == sorted(brought)
    assert changed


def test_matrices_that_lie_the_other_way_round(tmp_path: Path) -> None:
    model = gpt2(tmp_path / "gpt2")
    adapter(model, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    folder, plain = open_model(str(tmp_path / "adapter"), base=str(model)), open_model(str(model))
    assert max(steps(folder, plain, merged(model, tmp_path / "adapter")).values()) <= 1
    square = "transformer.h.0.attn.c_proj.weight"
    assert folder.info(square).shape == (32, 32)
    assert folder.bits(square).tobytes() != plain.bits(square).tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes_keep_theirs(tmp_path: Path, dtype: torch.dtype) -> None:
    model = llama(tmp_path / "model", tied=False, dtype=dtype)
    adapter(model, tmp_path / "adapter")
    folder, plain = open_model(str(tmp_path / "adapter"), base=str(model)), open_model(str(model))
    assert {name: found.info.dtype for name, found in folder.tensors.items()} == {
        name: found.info.dtype for name, found in plain.tensors.items()
    }
    expected, worst = merged(model, tmp_path / "adapter"), 0.0
    for name in folder.tensors:
        ours, peft = values(folder, name), expected[name].float().numpy()
        worst = max(worst, float(np.abs(ours - peft).max() / np.abs(peft).max()))
    assert worst < (2e-7 if dtype == torch.float32 else 1e-3)
    assert folder.bits(Q).tobytes() != plain.bits(Q).tobytes()


def test_the_zorb_adapter_is_what_peft_makes_of_it(material: Path, tmp_path: Path) -> None:
    """The real one, on a random model of SmolLM2's shape: 210 matrices, rank 4."""
    shape: dict[str, Any] = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 512}
    llama(tmp_path / "base", tied=True, **shape, num_attention_heads=9, num_key_value_heads=3)
    zorb = material / "parents/smollm2-zorb-lora"
    folder, plain = open_model(str(zorb), base=str(tmp_path / "base")), open_model(str(tmp_path / "base"))
    far = steps(folder, plain, merged(tmp_path / "base", zorb))
    assert max(far.values()) <= 1
    assert sum(bool(found.changes) for found in folder.tensors.values()) == 210
    assert folder.tensors.keys() == plain.tensors.keys()


# ---- the same bits everywhere


def reference(base: NDArray[np.float32], b: NDArray[np.float32], a: NDArray[np.float32], scale: float) -> Any:
    """The arithmetic as it is written down: ranks in order, every operation rounded on its own."""
    total = b[:, :1] * a[:1]
    for k in range(1, len(a)):
        total = total + b[:, k : k + 1] * a[k : k + 1]
    return base + total * np.float32(scale)


@pytest.mark.parametrize("rank", [1, 4, 33])
def test_bits_depend_on_no_block_and_are_those_of_the_reference(tmp_path: Path, rank: int) -> None:
    shape = (67, 129)
    w, b, a = (x.astype(np.float32) for x in (normal(1, *shape), normal(2, shape[0], rank), normal(3, rank, shape[1])))
    write_model(tmp_path / "base", {Q: tensor(w, "F32")})
    stem = f"base_model.model.{Q.removesuffix('.weight')}"
    factors = {f"{stem}.lora_A.weight": tensor(a, "F32"), f"{stem}.lora_B.weight": tensor(b, "F32")}
    write_adapter(tmp_path / "adapter", factors, r=rank, lora_alpha=5)
    folder = open_model(str(tmp_path / "adapter"), base=str(tmp_path / "base"))
    expected = reference(w, b, a, 5 / rank).astype(np.float32).ravel()
    assert folder.bits(Q).tobytes() == expected.tobytes()
    elements = folder.elements(Q)
    for step in (1, 7, 128, 129, 1000):
        parts = [elements[i : i + step] for i in range(0, w.size, step)][: 3 * 129]
        assert np.concatenate(parts).tobytes() == expected[: sum(map(len, parts))].tobytes()

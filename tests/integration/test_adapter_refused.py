"""What isn't applied of an adapter, and what doesn't fit its model, is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.adapter import CONFIG, WEIGHTS
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadInput
from tests.build import normal, tensor
from tests.integration.adapted import FITTING, STEM, A, B, llama, write_adapter


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in bfloat16 whose head is its own."""
    return llama(tmp_path_factory.mktemp("base"), tied=False)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "use_dora: true"),
    "another method": ({"peft_type": "IA3"}, "peft_type: IA3"),
    "biases": ({"bias": "lora_only"}, "bias: lora_only"),
    "biases of factors": ({"lora_bias": True}, "lora_bias: true"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights: pissa_niter_16, which changes the model"),
    "OLoRA": ({"init_lora_weights": "olora"}, "init_lora_weights: olora"),
    "LoftQ": ({"init_lora_weights": "loftq"}, "init_lora_weights: loftq"),
    "repeated layers": ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication: "),
    "Megatron": ({"megatron_config": {"x": 1}}, "megatron_config: "),
    "tokens": ({"trainable_token_indices": [1, 2]}, "trainable_token_indices: "),
    "parameters": ({"target_parameters": ["mlp.experts.up"]}, "target_parameters: "),
    "aLoRA": ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens: "),
    "QALoRA": ({"use_qalora": True}, "use_qalora: true"),
    "what is not known yet": ({"use_marvels": {"depth": 3}}, 'use_marvels: {"depth": 3}'),
    "two at once": ({"use_dora": True, "bias": "all"}, "use_dora: true; bias: all"),
}


@pytest.mark.parametrize(("config", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_applied_is_refused_by_name(base: Path, tmp_path: Path, config: dict[str, Any], says: str) -> None:
    write_adapter(tmp_path / "adapter", {}, **config)
    with pytest.raises(BadInput) as found:
        open_model(str(tmp_path / "adapter"), base=str(base))
    where = tmp_path / "adapter" / CONFIG
    assert str(found.value).startswith(f"{where}: this version doesn't apply {says}")
    assert str(found.value).endswith("merge it with peft (merge_and_unload) and give that folder")


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a magnitude": (
        lambda t: t | {f"{STEM}.lora_magnitude_vector": tensor(normal(1, 32))},
        "lora_magnitude_vector: this",
    ),
    "half of a pair": (lambda t: {A: t[A]}, "q_proj: of its factors there is only lora_A"),
    "another rank": (
        lambda t: {A: tensor(normal(1, 2, 32)), B: tensor(normal(2, 32, 2))},
        "shapes don't fit: .*rank 4",
    ),
    "another width": (lambda t: t | {A: tensor(normal(1, 4, 40))}, "shapes don't fit"),
    "another model": (
        lambda t: {name.replace("layers.0", "layers.9"): found for name, found in t.items()},
        r"the model has no model\.layers\.9\.self_attn\.q_proj, which the adapter changes",
    ),
    "a classifier": (lambda t: t | {"base_model.model.score.weight": tensor(normal(1, 2, 32))}, "tensor score.weight"),
    "more tokens": (
        lambda t: t | {"base_model.model.lm_head.weight": tensor(normal(1, 99, 32))},
        r"lm_head.weight: the model has shape \(96, 32\), the adapter \(99, 32\)",
    ),
    "nothing": (lambda t: {}, "no tensors in it"),
}


@pytest.mark.parametrize(("change", "says"), BROKEN.values(), ids=BROKEN)
def test_an_adapter_that_does_not_fit_is_refused_by_name(
    base: Path, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], says: str
) -> None:
    write_adapter(tmp_path / "right", FITTING)
    assert open_model(str(tmp_path / "right"), base=str(base)).tensors
    write_adapter(tmp_path / "wrong", change(FITTING))
    with pytest.raises(BadInput, match=says):
        open_model(str(tmp_path / "wrong"), base=str(base))


def test_an_adapter_without_safetensors_is_refused(base: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", FITTING)
    (tmp_path / "a" / WEIGHTS).rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(BadInput, match=f"no {WEIGHTS} in it"):
        open_model(str(tmp_path / "a"), base=str(base))

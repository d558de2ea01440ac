"""An adapter as a parent is what peft's own merge makes of it, within a step of the dtype, and the same everywhere."""

import copy
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from darwinmerge.checkpoint.adapter import CONFIG, WEIGHTS
from darwinmerge.checkpoint.compatible import require_base
from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.checkpoint.folder import SINGLE, ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.manifest import Hub as Repository
from darwinmerge.pipeline.place import Place
from darwinmerge.publish.licences import require_shareable
from darwinmerge.store import open_store
from tests.build import normal, tensor, write_model
from tests.hub import Hub
from tests.integration.conftest import World, darwin
from tests.integration.test_s3_parents import upload
from tests.s3 import S3

Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
MODULES = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in bfloat16 whose head is its own."""
    return llama(tmp_path_factory.mktemp("base"), tied=False)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its embedding as head."""
    return llama(tmp_path_factory.mktemp("tied"), tied=True)


SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 96}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def llama(folder: Path, tied: bool, dtype: torch.dtype = torch.bfloat16, **shape: Any) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    model: Any = LlamaForCausalLM(LlamaConfig(**{**SMALL, "tie_word_embeddings": tied, **shape}))
    model.to(dtype).save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    """A model whose matrices lie the other way round (Conv1D), some of them square."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    model: Any = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=96, n_positions=16))
    model.to(torch.bfloat16).save_pretrained(folder)
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


def write_adapter(folder: Path, tensors: Mapping[str, Any], **config: Any) -> Path:
    """An adapter's folder as peft saves it."""
    from tests.build import file_bytes

    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(file_bytes(tensors))
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}))
    return folder


# ---- tied embeddings


def test_an_adapter_that_leaves_tied_embeddings_alone_is_as_any(tied: Path, tmp_path: Path) -> None:
    adapter(tied, tmp_path / "adapter")
    folder, plain = open_model(str(tmp_path / "adapter"), base=str(tied)), open_model(str(tied))
    assert "lm_head.weight" not in folder.tensors
    assert max(steps(folder, plain, merged(tied, tmp_path / "adapter")).values()) <= 1


TIED: dict[str, dict[str, Any]] = {
    "factors for the embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "factors for the head": {"target_modules": ["lm_head", "q_proj"]},
    "factors for both": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "factors for the embedding, tying ensured": {
        "target_modules": ["embed_tokens", "q_proj"],
        "ensure_weight_tying": True,
    },
    "factors for the head, tying ensured": {"target_modules": ["lm_head", "q_proj"], "ensure_weight_tying": True},
    "the embedding saved whole, tying ensured": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "the head saved whole, tying ensured": {"modules_to_save": ["lm_head"], "ensure_weight_tying": True},
}


@pytest.mark.parametrize("options", TIED.values(), ids=TIED)
@pytest.mark.parametrize("stored", [False, True], ids=["once", "twice"])
def test_a_tied_embedding_is_one_tensor_as_it_is_to_peft(
    tied: Path, tmp_path: Path, options: dict[str, Any], stored: bool
) -> None:
    model = stored_twice(tied, tmp_path / "model") if stored else tied
    adapter(tied, tmp_path / "adapter", **options)
    folder, plain = open_model(str(tmp_path / "adapter"), base=str(model)), open_model(str(model))
    expected = merged(model, tmp_path / "adapter")
    assert expected[HEAD].data_ptr() == expected[EMBEDDING].data_ptr()
    assert max(steps(folder, plain, expected).values()) <= 1
    assert folder.tensors.keys() == plain.tensors.keys()
    assert folder.bits(EMBEDDING).tobytes() != plain.bits(EMBEDDING).tobytes()
    assert (HEAD in folder.tensors) == stored
    if stored:
        assert folder.bits(HEAD).tobytes() == folder.bits(EMBEDDING).tobytes()


def stored_twice(tied: Path, folder: Path) -> Path:
    """The same model in a file that repeats the embedding as head."""
    shutil.copytree(tied, folder)
    held = load_file(folder / SINGLE)
    save_file(held | {HEAD: held[EMBEDDING].clone()}, folder / SINGLE, metadata={"format": "pt"})
    return folder


UNTIED: dict[str, tuple[dict[str, Any], str]] = {
    "the embedding": ({"modules_to_save": ["embed_tokens"]}, "model.embed_tokens.weight only"),
    "the head": ({"modules_to_save": ["lm_head"]}, "lm_head.weight only"),
    "each by another": (
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        "lm_head.weight and model.embed_tokens.weight, which differ",
    ),
    "the embedding, and factors for the head": (
        {"modules_to_save": ["embed_tokens"], "target_modules": ["lm_head"]},
        "model.embed_tokens.weight, and factors for lm_head.weight",
    ),
}


@pytest.mark.parametrize(("options", "brings"), UNTIED.values(), ids=UNTIED)
def test_what_peft_would_untie_is_refused(tied: Path, tmp_path: Path, options: dict[str, Any], brings: str) -> None:
    adapter(tied, tmp_path / "adapter", **options)
    expected = merged(tied, tmp_path / "adapter")
    assert not torch.equal(expected[HEAD], expected[EMBEDDING])
    with pytest.raises(BadInput) as found:
        open_model(str(tmp_path / "adapter"), base=str(tied))
    says = f"embedding and output head are one (tied), and the adapter brings {brings}; merge it with peft"
    assert says in str(found.value)


def test_a_tied_model_takes_a_new_embedding_only_if_it_is_the_head_too(tied: Path, tmp_path: Path) -> None:
    new, other = tensor(normal(1, 96, 32)), tensor(normal(2, 96, 32))
    embedding, head = "base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"
    both = open_model(str(write_adapter(tmp_path / "a", {embedding: new, head: new})), base=str(tied))
    assert both.bits("model.embed_tokens.weight").tobytes() == new.bits.tobytes()
    assert "lm_head.weight" not in both.tensors
    told = write_adapter(tmp_path / "b", {embedding: new}, ensure_weight_tying=True)
    assert open_model(str(told), base=str(tied)).bits("model.embed_tokens.weight").tobytes() == new.bits.tobytes()
    for i, wrong in enumerate(({embedding: new}, {head: new}, {embedding: new, head: other})):
        with pytest.raises(BadInput, match=r"are one \(tied\), and the adapter brings .*(only|differ); merge it"):
            open_model(str(write_adapter(tmp_path / f"c{i}", wrong)), base=str(tied))


# ---- what isn't applied


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


STEM = f"base_model.model.{Q.removesuffix('.weight')}"
A, B = f"{STEM}.lora_A.weight", f"{STEM}.lora_B.weight"
FITTING = {A: tensor(normal(1, 4, 32)), B: tensor(normal(2, 32, 4))}
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


# ---- which model it is on, and what a folder of both is


def test_the_model_that_an_adapter_is_on_is_the_one_that_is_given_or_named(base: Path, tmp_path: Path) -> None:
    here = write_adapter(tmp_path / "a", FITTING, base_model_name_or_path=str(base))
    assert open_model(str(here)).bits(Q).tobytes() == open_model(str(here), base=str(base)).bits(Q).tobytes()
    nowhere = write_adapter(tmp_path / "b", FITTING, base_model_name_or_path="./somewhere")
    with pytest.raises(BadInput, match=r"'./somewhere', is neither on a hub nor a folder.*: `base`, beside"):
        open_model(str(nowhere))
    with pytest.raises(BadConfiguration, match=r"a whole model, and no adapter on .*; leave `base` out"):
        open_model(str(base), base=str(base))
    with pytest.raises(BadInput, match="a LoRA adapter, no whole model"):
        open_model(str(here), base=str(nowhere))


def test_an_adapter_is_no_base_of_two_parents(base: Path, tmp_path: Path) -> None:
    here = open_model(str(write_adapter(tmp_path / "a", FITTING)), base=str(base))
    with pytest.raises(BadInput, match=rf"base .*: an adapter on {base}; a base is a whole model: name what both"):
        require_base(here, open_model(str(base)), here)


def test_the_licence_of_the_model_that_an_adapter_is_on_counts(base: Path, tmp_path: Path) -> None:
    vast = Path(shutil.copytree(base, tmp_path / "vast"))
    (vast / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    mine = write_adapter(tmp_path / "a", FITTING)
    (mine / "README.md").write_text("---\nlicense: mit\n---\n")
    where = Bindings(
        father=str(base), mother=str(mine), mother_base=str(vast), store=str(tmp_path), hub=Repository(repo="org/child")
    )
    place = Place(where, open_store(str(tmp_path / "store")), threading.Event(), lambda *_: None)
    with pytest.raises(BadConfiguration, match=r"mother's base model vast is under cc-by-nd-4\.0, which forbids"):
        require_shareable(place)


def test_an_adapter_without_safetensors_is_refused(base: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", FITTING)
    (tmp_path / "a" / WEIGHTS).rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(BadInput, match=f"no {WEIGHTS} in it"):
        open_model(str(tmp_path / "a"), base=str(base))


def test_the_pin_is_over_both_and_the_tokenizer_the_adapters_own(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    write_adapter(tmp_path / "a", FITTING)
    (tmp_path / "a/tokenizer.json").write_text('{"mine": 1}')
    (tmp_path / "a/config.json").write_text("{}")

    def found() -> ModelFolder:
        return open_model(str(tmp_path / "a"), base=str(tmp_path / "base"))

    first = found()
    pins = {first.pin}
    assert {WEIGHTS, CONFIG, SINGLE, "config.json", "tokenizer.json"} <= first.file_digests.keys()
    assert first.read("tokenizer.json") == b'{"mine": 1}'
    assert first.config["model_type"] == "llama"
    assert (first.path / "tokenizer.json").read_text() == '{"mine": 1}'
    assert json.loads((first.path / "config.json").read_text()) == first.config
    write_adapter(tmp_path / "a", FITTING, lora_alpha=9)
    pins.add(found().pin)
    data = bytearray((tmp_path / "base" / SINGLE).read_bytes())
    data[-1] ^= 1
    (tmp_path / "base" / SINGLE).write_bytes(data)
    pins.add(found().pin)
    assert len(pins) == 3


def test_a_child_of_an_adapter_is_scored_exported_and_verified_as_any(
    world: World, material: Path, tmp_path: Path
) -> None:
    father = material / "parents/tiny-qwen35/father"
    named = "layers.0.mlp.up_proj"
    place = next(name for name in open_model(str(father)).tensors if name.endswith(f"{named}.weight"))
    out, width = open_model(str(father)).info(place).shape
    stem = f"base_model.model.{place.removesuffix('.weight')}"
    factors = {f"{stem}.lora_A.weight": normal(1, 4, width), f"{stem}.lora_B.weight": normal(2, out, 4, scale=1)}
    write_adapter(tmp_path / "adapter", {name: tensor(x, "F32") for name, x in factors.items()})
    world.edit("parents", "mother", value={"uri": str(tmp_path / "adapter"), "base": str(father)})
    world.edit("evolution", "steps", value=1)
    world.edit("output", value={"uri": str(tmp_path / "child")})
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads((tmp_path / "child/darwin.json").read_text())
    assert record["accounts"]["merged"] + record["accounts"].get("transplanted-mother", 0) == 1
    assert json.loads((tmp_path / "child/darwin-run.json").read_text())["motherBase"] == str(father.resolve())
    verified = darwin("verify", tmp_path / "child")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    moved = shutil.copytree(tmp_path / "adapter", tmp_path / "moved")
    world.edit("parents", "mother", value={"uri": str(moved), "base": str(father)})
    assert darwin("run", world.manifest).returncode == 0, "the same adapter at another place is the same parent"
    world.edit("parents", "mother", value={"uri": str(moved), "base": str(material / "parents/tiny-qwen35/mother")})
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "with other parents than the manifest names" in run.stderr


def test_an_adapter_on_a_hub_is_on_the_model_that_it_names_there(there: Hub, base: Path, tmp_path: Path) -> None:
    at = there.push("org/base", base)
    write_adapter(tmp_path / "a", FITTING, base_model_name_or_path="org/base")
    there.push("org/adapter", tmp_path / "a")
    folder = open_model("hf://org/adapter")
    expected = open_model(str(tmp_path / "a"), base=str(base))
    there.asked.clear()
    assert folder.bits(Q).tobytes() == expected.bits(Q).tobytes()
    sent = sum(request.sent for request in there.of("/storage/"))
    assert folder.file_digests == expected.file_digests
    assert str(folder).endswith(f" on hf://org/base@{at}")
    assert sent == 32 * 32 * 2 + 2 * 32 * 4 * 2, "one tensor of the model, and its factors"


def test_the_model_that_an_adapter_names_is_the_same_commit_for_the_whole_run(
    there: Hub, base: Path, tmp_path: Path
) -> None:
    first = there.push("org/base", base)
    write_adapter(tmp_path / "a", FITTING, base_model_name_or_path="org/base")
    there.push("org/adapter", tmp_path / "a")
    store = open_store(str(tmp_path / "store"))
    where = Bindings(father="hf://org/base", mother="hf://org/adapter", store=store.uri)

    def found() -> tuple[dict[str, str], str]:
        place = Place(where, store, threading.Event(), lambda done, of: None)
        return place.commits(), place.parents()[1].pin

    was = found()
    assert (was[0]["father"], was[0]["motherBase"]) == (first, first)
    there.push("org/base", {**there.models["org/base"].commits[first], "config.json": b"{}"})
    assert found() == was


def test_an_adapter_may_lie_in_s3_and_its_model_elsewhere(s3: S3, base: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", FITTING)
    there, expected = upload(s3, tmp_path / "a", "adapters/a"), open_model(str(tmp_path / "a"), base=str(base))
    for on in (str(base), upload(s3, base, "adapters/base")):
        folder = open_model(there, base=on)
        assert [bits.tobytes() for bits in folder.whole(folder.tensors)] == [
            bits.tobytes() for bits in expected.whole(expected.tensors)
        ]
        assert folder.pin == expected.pin
        assert json.loads((folder.path / "config.json").read_text()) == expected.config

"""Parents fit together, or what keeps them apart is named; what stops nothing is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.compatible import require_compatible
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput
from tests.build import Tensor, normal, tensor, write_model

W = "model.layers.0.mlp.up_proj.weight"
TEXT: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "sliding_window": None,
    "layer_types": ["linear_attention", "full_attention"],
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25},
}
VOCAB = {"<pad>": 0, "a": 1, "b": 2, "ab": 3}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": 0, "content": "<pad>", "special": True}],
    "normalizer": {"type": "NFC"},
    "model": {"type": "BPE", "dropout": None, "vocab": VOCAB, "merges": [["a", "b"]]},
}


def folder(path: Path, config: dict[str, Any], held: dict[str, Tensor] | None = None, **files: Any) -> ModelFolder:
    """A model folder; `files` are JSON, a double underscore in their names stands for the point."""
    write_model(path, held or {W: tensor(normal(1, 4, 4))}, **config)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("__", ".")).write_text(text)
    return ModelFolder(path)


def compare(path: Path, his: dict[str, Any], hers: dict[str, Any]) -> tuple[str, ...]:
    return require_compatible(folder(path / "f", his), folder(path / "m", hers))


def tokens(path: Path, his: dict[str, Any], hers: dict[str, Any]) -> tuple[str, ...]:
    return require_compatible(folder(path / "f", TEXT, None, **his), folder(path / "m", TEXT, None, **hers))


ROPE = TEXT["rope_parameters"]
MEANING: list[tuple[dict[str, Any], str]] = [
    ({"num_attention_heads": 8}, "num_attention_heads: father 4, mother 8"),
    ({"num_key_value_heads": 4}, "num_key_value_heads: father 2, mother 4"),
    ({"head_dim": 32}, "head_dim: father 16, mother 32"),
    ({"rms_norm_eps": 1e-5}, "rms_norm_eps: father 1e-06, mother 1e-05"),
    ({"hidden_act": "gelu"}, "hidden_act: father 'silu', mother 'gelu'"),
    ({"sliding_window": 4096}, "sliding_window: father None, mother 4096"),
    (
        {"layer_types": ["linear_attention"] * 2},
        r"layer_types\[1\]: father 'full_attention', mother 'linear_attention'",
    ),
    ({"tie_word_embeddings": True}, "tie_word_embeddings: father False, mother True"),
    ({"rope_parameters": {**ROPE, "rope_theta": 1e4}}, r"rope_parameters\.rope_theta: father 10000000\.0, mother 1"),
    (
        {"rope_parameters": {**ROPE, "rope_type": "yarn"}},
        r"rope_parameters\.rope_type: father 'default', mother 'yarn'",
    ),
    ({"model_type": "llama"}, "model_type: father 'qwen3_5_text', mother 'llama'"),
    ({"a_field_of_tomorrow": 2}, "a_field_of_tomorrow: father 1, mother 2"),
]


@pytest.mark.parametrize(("change", "message"), MEANING, ids=[next(iter(change)) for change, _ in MEANING])
def test_a_field_that_changes_what_equal_shapes_mean_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    his = {**TEXT, "a_field_of_tomorrow": 1}
    with pytest.raises(BadInput, match=f"config.json.*{message}.*take fine-tunes of one base"):
        compare(tmp_path, his, {**his, **change})


def test_every_field_that_differs_is_named_at_once(tmp_path: Path) -> None:
    his = {"hidden_size": 8, "text": {"layers": 2}, "transformers_version": "1"}
    hers = {"hidden_size": 9, "text": {"layers": 3}, "transformers_version": "2"}
    with pytest.raises(BadInput, match=r"hidden_size: father 8, mother 9; text\.layers: father 2, mother 3") as told:
        compare(tmp_path, his, hers)
    assert "transformers_version" not in str(told.value)


@pytest.mark.parametrize(
    "change",
    [
        {"transformers_version": "5"},
        {"torch_dtype": "float16"},
        {"use_cache": False},
        {"architectures": ["X"]},
        {"_name_or_path": "there"},
        {"pad_token_id": 7},
        {"attention_dropout": 0.1},
        {"initializer_range": 0.5},
    ],
)
def test_a_field_of_the_file_or_of_training_is_ignored(tmp_path: Path, change: dict[str, Any]) -> None:
    assert compare(tmp_path, TEXT, {**TEXT, **change}) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eos_token_id": 5}, "eos_token_id: father 2, mother 5"),
        ({"max_position_embeddings": 99}, "max_position_embeddings: father 64, mother 99"),
        ({"written_by_a_newer_library": 1}, "written_by_a_newer_library: father has none, mother 1"),
        ({"head_dim": None}, "head_dim: father 16, mother None"),
    ],
)
def test_a_field_of_which_the_child_takes_fathers_is_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    his = {**TEXT, "eos_token_id": 2, "max_position_embeddings": 64}
    assert compare(tmp_path, his, {**his, **change}) == (f"config.json: {message}",)


def test_rotary_fields_are_compared_whichever_version_wrote_them(tmp_path: Path) -> None:
    older = {key: value for key, value in TEXT.items() if key != "rope_parameters"}
    older |= {"rope_theta": 1e7, "rope_scaling": None, "partial_rotary_factor": 0.25}
    assert compare(tmp_path / "same", TEXT, older) == ()
    with pytest.raises(BadInput, match=r"rope_parameters\.rope_theta"):
        compare(tmp_path / "theta", TEXT, {**older, "rope_theta": 5e6})
    with pytest.raises(BadInput, match=r"rope_parameters\.rope_type: father 'default', mother 'yarn'"):
        compare(tmp_path / "yarn", TEXT, {**older, "rope_scaling": {"type": "yarn", "factor": 4.0}})
    bare = {"model_type": "qwen3_5_text"}
    with pytest.raises(BadInput, match=r"rope_parameters\.rope_type: father 'default', mother 'yarn'"):
        compare(tmp_path / "bare", bare, {**bare, "rope_scaling": {"type": "yarn", "factor": 4.0}})


COMPOSITE = {
    "model_type": "qwen3_5",
    "tie_word_embeddings": False,
    "vision_config": {"depth": 2},
    "image_token_id": 5,
    "text_config": {**TEXT, "tie_word_embeddings": True},  # the composite's own word comes first
}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("type_of_text", ["qwen3_5_text", "qwen3_5"])
def test_a_text_model_is_compared_with_the_text_part_of_a_composite_one(
    tmp_path: Path, type_of_text: str, swap: bool
) -> None:
    pair = [COMPOSITE, {**TEXT, "model_type": type_of_text}]
    his, hers = pair[::-1] if swap else pair
    (told,) = compare(tmp_path / "same", his, hers)
    assert f"{'mother' if swap else 'father'} is a composite model (qwen3_5)" in told
    one = {**TEXT, "rms_norm_eps": 1.0}
    with pytest.raises(BadInput, match=r"text_config\.rms_norm_eps: father"):
        compare(tmp_path / "other", *((one, COMPOSITE) if swap else (COMPOSITE, one)))


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "text_config.quantization_config"),
        ({"compression_config": {"format": "pack-quantized"}}, "compression_config"),
    ],
)
@pytest.mark.parametrize("who", ["father", "mother"])
def test_a_parent_whose_config_says_that_it_is_quantised_is_refused(
    tmp_path: Path, config: dict[str, Any], place: str, who: str
) -> None:
    configs = [config if who == name else {} for name in ("father", "mother")]
    with pytest.raises(BadInput, match=rf"quantised \(config.json has {place}\); give the unquantised model"):
        compare(tmp_path, *configs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("model.layers.0.mlp.up_proj.qweight", "I32"),
        ("model.layers.0.mlp.up_proj.g_idx", "I32"),
        ("model.layers.0.mlp.up_proj.weight_packed", "I32"),
        ("model.layers.0.mlp.up_proj.weight_scale", "BF16"),
        ("model.layers.0.mlp.up_proj.weight_scale_inv", "F32"),
        ("model.layers.0.mlp.up_proj.weight.absmax", "F32"),
        ("model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4", "U8"),
        ("model.layers.0.mlp.experts.gate_up_proj_blocks", "U8"),
        ("model.layers.0.mlp.experts.down_proj_scales", "U8"),
        ("model.layers.0.mlp.up_proj.weight", "I8"),
    ],
)
def test_a_parent_with_tensors_of_quantised_weights_is_refused_by_tensor(tmp_path: Path, name: str, dtype: str) -> None:
    mother = folder(tmp_path / "m", TEXT, {W: tensor(normal(1, 2)), name: tensor([1, 2], dtype)})
    with pytest.raises(BadInput, match=rf"{tmp_path / 'm'}: tensor {name} .*quantised.*give the unquantised model"):
        require_compatible(folder(tmp_path / "f", TEXT), mother)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("model.visual.position_ids", "I64"), ("model.layers.0.mlp.experts.gate_up_proj", "BF16"), (W, "F32")],
)
def test_buffers_and_expert_stacks_are_no_sign_of_quantised_weights(tmp_path: Path, name: str, dtype: str) -> None:
    both = [folder(tmp_path / who, TEXT, {name: tensor([[[1, 2]]], dtype)}) for who in "fm"]
    assert require_compatible(*both) == ()


def changed(**model: Any) -> dict[str, Any]:
    return {**TOKENIZER, "model": {**TOKENIZER["model"], **model}}


SAME = [
    (json.dumps(TOKENIZER, indent=4), "formatting"),
    ({**TOKENIZER, "truncation": {"max_length": 512}, "padding": {"pad_id": 0}}, "truncation and padding"),
    (changed(merges=["a b"]), "merges as strings"),
    (changed(dropout=None, byte_fallback=False, ignore_merges=False), "options that are off"),
    (changed(vocab=dict(reversed(VOCAB.items()))), "order of the vocabulary"),
]


@pytest.mark.parametrize("other", [content for content, _ in SAME], ids=[name for _, name in SAME])
def test_a_tokenizer_in_another_form_is_the_same(tmp_path: Path, other: Any) -> None:
    assert tokens(tmp_path, {"tokenizer__json": TOKENIZER}, {"tokenizer__json": other}) == ()


ADDED = [*TOKENIZER["added_tokens"], {"id": 4, "content": "<think>"}]
OTHER = [
    (
        changed(vocab={**VOCAB, "ab": 4, "c": 3}),
        "vocab: father has 4, mother 5; the first that differs is 'ab': 3 and 4",
    ),
    (changed(vocab={**VOCAB, "c": 4}), "vocab: father has 4, mother 5; the first that differs is 'c': none and 4"),
    (changed(merges=[["b", "a"]]), "merges: father has 1, mother 1; the first that differs is number 0"),
    (changed(merges=[]), "merges: father has 1, mother 0; the first that differs is number 0"),
    ({**TOKENIZER, "added_tokens": ADDED}, "added_tokens: father has 1, mother 2; .* is 4: none and '<think>'"),
    ({**TOKENIZER, "normalizer": None}, "normalizer differs"),
    (changed(byte_fallback=True), "model differs"),
]


@pytest.mark.parametrize(("other", "message"), OTHER, ids=[message.split(":")[0] for _, message in OTHER])
def test_another_tokenizer_is_refused_by_its_first_other_token(tmp_path: Path, other: Any, message: str) -> None:
    with pytest.raises(BadInput, match=f"different tokenizers: tokenizer.json: {message}.*copy its files"):
        tokens(tmp_path, {"tokenizer__json": TOKENIZER}, {"tokenizer__json": other})


def test_a_unigram_vocabulary_is_compared_by_place_and_score(tmp_path: Path) -> None:
    one, other = ({"model": {"vocab": [["<s>", 0.0], ["x", score]]}} for score in (-1.5, -2.0))
    assert tokens(tmp_path / "same", {"tokenizer__json": one}, {"tokenizer__json": one}) == ()
    with pytest.raises(BadInput, match=r"the first that differs is 'x': \[1, -1.5\] and \[1, -2.0\]"):
        tokens(tmp_path / "other", {"tokenizer__json": one}, {"tokenizer__json": other})


def test_where_both_have_a_tokenizer_json_it_decides_and_older_files_do_not(tmp_path: Path) -> None:
    his = {"tokenizer__json": TOKENIZER, "vocab__json": VOCAB, "merges__txt": "a b"}
    assert tokens(tmp_path, his, {"tokenizer__json": TOKENIZER}) == ()


@pytest.mark.parametrize(
    ("his", "hers", "message"),
    [
        ({"vocab__txt": "a"}, {"vocab__txt": "b"}, "vocab.txt: differs"),
        ({"merges__txt": "a"}, {}, "merges.txt: only father has it"),
        ({}, {"tokenizer__model": "a"}, "tokenizer.model: only mother has it"),
        ({"tokenizer__json": TOKENIZER}, {}, "tokenizer.json: only father has it, and no older file is in both"),
        ({"tokenizer__json": TOKENIZER, "vocab__json": {"a": 1}}, {"vocab__json": {"a": 2}}, "vocab.json: differs"),
    ],
)
def test_older_tokenizer_files_must_be_equal(
    tmp_path: Path, his: dict[str, Any], hers: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=f"different tokenizers: {message}"):
        tokens(tmp_path, his, hers)


def test_equal_older_files_stand_for_a_tokenizer_json_that_one_parent_lacks(tmp_path: Path) -> None:
    older = {"vocab__json": VOCAB, "merges__txt": "a b"}
    assert tokens(tmp_path, {**older, "tokenizer__json": TOKENIZER}, older) == ()


def test_another_chat_template_is_told_and_stops_nothing(tmp_path: Path) -> None:
    his = {"tokenizer_config__json": {"chat_template": "a", "tokenizer_class": "A"}, "chat_template__jinja": "a"}
    hers = {"tokenizer_config__json": {"chat_template": "b", "tokenizer_class": "B"}, "chat_template__jinja": "b"}
    assert tokens(tmp_path, his, hers) == (
        "tokenizer_config.json: chat_template differs; the child has Father's",
        "chat_template.jinja differs; the child has Father's",
    )


def test_a_tokenizer_config_that_adds_other_tokens_is_refused(tmp_path: Path) -> None:
    his, hers = ({"tokenizer_config__json": {"add_bos_token": value}} for value in (True, False))
    with pytest.raises(BadInput, match=r"tokenizer_config.json: add_bos_token: father True, mother False"):
        tokens(tmp_path, his, hers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ('{"model": {"vocab": [1]}}', "not a tokenizer's vocabulary"),
        ('{"model": {"vocab": 3}}', "not a tokenizer's vocabulary"),
        ('{"model": {"merges": [5]}}', "not a tokenizer's vocabulary"),
        ('{"added_tokens": [{"content": "x"}]}', "not a tokenizer's vocabulary"),
    ],
)
def test_a_tokenizer_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=rf"tokenizer\.json: {message}.*download it again"):
        tokens(tmp_path, {"tokenizer__json": TOKENIZER}, {"tokenizer__json": text})

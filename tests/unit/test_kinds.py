"""The kind, gene and layer of a tensor follow from its name."""

from pathlib import Path

import pytest

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.kinds import KindRule, gene_of, kind_of, layer_of

LAYER = "model.layers.7."
HYBRID = "model.language_model.layers.12."
VISION = "model.visual.blocks.3."

# (name, kind, gene, layer): every form of name that Llama and Qwen3.5 (dense, hybrid, with vision and MTP) have.
GOLDEN = [
    ("model.embed_tokens.weight", "embedding", "embed", "-"),
    ("lm_head.weight", "embedding", "embed", "-"),
    ("model.norm.weight", "norm", "ratio", "-"),
    *((f"{LAYER}self_attn.{p}_proj.weight", "attention", "attn", "7") for p in "qkvo"),
    (f"{LAYER}self_attn.q_proj.bias", "attention", "attn", "7"),
    *((f"{LAYER}mlp.{p}_proj.weight", "ffn", "ffn", "7") for p in ("gate", "up", "down")),
    (f"{LAYER}input_layernorm.weight", "norm", "ratio", "7"),
    (f"{LAYER}post_attention_layernorm.weight", "norm", "ratio", "7"),
    ("model.language_model.embed_tokens.weight", "embedding", "embed", "-"),
    ("model.language_model.norm.weight", "norm", "ratio", "-"),
    (f"{HYBRID}linear_attn.A_log", "attention", "attn", "12"),
    (f"{HYBRID}linear_attn.dt_bias", "attention", "attn", "12"),
    (f"{HYBRID}linear_attn.conv1d.weight", "attention", "attn", "12"),
    *((f"{HYBRID}linear_attn.in_proj_{p}.weight", "attention", "attn", "12") for p in ("a", "b", "qkv", "z")),
    (f"{HYBRID}linear_attn.norm.weight", "attention", "attn", "12"),
    (f"{HYBRID}linear_attn.out_proj.weight", "attention", "attn", "12"),
    *((f"{HYBRID}self_attn.{p}_norm.weight", "attention", "attn", "12") for p in "qk"),
    (f"{HYBRID}mlp.down_proj.weight", "ffn", "ffn", "12"),
    (f"{HYBRID}input_layernorm.weight", "norm", "ratio", "12"),
    (f"{HYBRID}post_attention_layernorm.weight", "norm", "ratio", "12"),
    (f"{VISION}attn.qkv.weight", "vision", "ratio", "vision.3"),
    (f"{VISION}attn.proj.bias", "vision", "ratio", "vision.3"),
    (f"{VISION}mlp.linear_fc1.weight", "vision", "ratio", "vision.3"),
    (f"{VISION}norm1.weight", "vision", "ratio", "vision.3"),
    ("model.visual.merger.norm.weight", "vision", "ratio", "vision.-"),
    ("model.visual.patch_embed.proj.weight", "vision", "ratio", "vision.-"),
    ("model.visual.pos_embed.weight", "vision", "ratio", "vision.-"),
    ("mtp.layers.0.self_attn.q_proj.weight", "mtp", "ratio", "mtp.0"),
    ("mtp.layers.0.mlp.up_proj.weight", "mtp", "ratio", "mtp.0"),
    ("mtp.fc.weight", "mtp", "ratio", "mtp.-"),
    ("mtp.pre_fc_norm_embedding.weight", "mtp", "ratio", "mtp.-"),
    ("transformer.wte.weight", "embedding", "embed", "-"),
    ("transformer.h.5.attn.c_attn.weight", "attention", "attn", "5"),
    ("model.layers.2.mlp.experts.31.up_proj.weight", "ffn", "ffn", "2"),
    ("model.layers.2.block_sparse_moe.experts.3.w1.weight", "ffn", "ffn", "2"),
    ("model.rotary.inv_freq", "other", "ratio", "-"),
]


@pytest.mark.parametrize(("name", "kind", "gene", "layer"), GOLDEN, ids=[name for name, *_ in GOLDEN])
def test_a_known_name_has_its_kind_gene_and_layer(name: str, kind: str, gene: str, layer: str) -> None:
    assert (kind_of(name), gene_of(kind_of(name)), layer_of(name)) == (kind, gene, layer)


def test_the_first_rule_that_matches_wins() -> None:
    rules = (KindRule(pattern="q_proj", kind="other"), KindRule(pattern="attn", kind="attention"))
    assert kind_of("layers.0.self_attn.q_proj.weight", rules) == "other"
    assert kind_of("layers.0.self_attn.k_proj.weight", rules) == "attention"


def test_a_name_that_no_rule_matches_is_other() -> None:
    assert kind_of("model.embed_tokens.weight", ()) == "other"


def test_a_number_that_is_no_layer_is_not_taken_for_one() -> None:
    assert layer_of("model.layers.4.mlp.experts.31.up_proj.weight") == "4"
    assert layer_of("model.conv.3.weight") == "-"


def test_no_tensor_of_a_real_hybrid_model_is_of_kind_other(material: Path) -> None:
    father = ModelFolder(material / "parents" / "tiny-qwen35" / "father")
    assert [name for name in father.tensors if kind_of(name) == "other"] == []

"""An adapter on a model with tied embeddings: embedding and head are one as they are to peft, or it is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwinmerge.checkpoint.folder import SINGLE
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadInput
from tests.build import normal, tensor
from tests.integration.adapted import EMBEDDING, HEAD, adapter, llama, merged, steps, write_adapter


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in bfloat16 with its embedding as head."""
    return llama(tmp_path_factory.mktemp("tied"), tied=True)


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

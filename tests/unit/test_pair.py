"""What is one tensor has one name in both parents, Father's; what repeats another tensor has none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.names import is_embedding, is_head, outside_text, spellings
from darwinmerge.checkpoint.pair import aligned, renamed
from darwinmerge.errors import BadInput
from darwinmerge.experiment.manifest import Mri
from darwinmerge.mri.table import diagnose, names_of
from tests.build import Tensor, normal, tensor, write_model

STEMS = ("embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight")
PREFIXES = ("model.", "model.language_model.", "language_model.model.")
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def text_model(prefix: str, seed: int = 1) -> dict[str, Tensor]:
    return {prefix + stem: tensor(normal(seed + i, 4, 4)) for i, stem in enumerate(STEMS)}


def pair(path: Path, father: Mapping[str, Tensor], mother: Mapping[str, Tensor], **config: Any) -> list[ModelFolder]:
    return [write_model(path / who, held, **config) for who, held in (("father", father), ("mother", mother))]


@pytest.mark.parametrize("of_mother", PREFIXES)
@pytest.mark.parametrize("of_father", PREFIXES)
def test_mothers_tensors_take_fathers_names_whatever_their_prefix(
    tmp_path: Path, of_father: str, of_mother: str
) -> None:
    held = text_model(of_mother, 7)
    father, mother = aligned(*pair(tmp_path, text_model(of_father), held))
    assert list(mother.tensors) == list(father.tensors) == names_of(father, mother)
    for stem in STEMS:
        assert mother.bits(of_father + stem).tobytes() == held[of_mother + stem].bits.tobytes()
        assert mother.info(of_father + stem).name == of_father + stem


def test_a_view_keeps_the_folders_files_digests_and_pin(tmp_path: Path) -> None:
    plain, other = pair(tmp_path, text_model("model."), text_model("model.language_model."))
    _, mother = aligned(plain, other)
    again = ModelFolder(other.path)
    assert (mother.path, mother.config, mother.side_files()) == (again.path, again.config, again.side_files())
    assert (mother.file_digests, mother.pin) == (again.file_digests, again.pin)


def test_parents_whose_names_agree_are_left_as_they_are(tmp_path: Path) -> None:
    father, mother = pair(tmp_path, text_model("model."), text_model("model.", 2))
    for view, folder in zip(aligned(father, mother), (father, mother), strict=True):
        assert view.tensors == folder.tensors


def test_a_vision_tower_and_extra_heads_stay_fathers_alone(tmp_path: Path) -> None:
    more = {"model.visual.blocks.0.attn.qkv.weight": tensor(normal(8, 6)), "mtp.fc.weight": tensor(normal(9, 6))}
    folders = pair(tmp_path, {**text_model("model.language_model."), **more}, text_model("model.", 2))
    presences = {found.name: found.presence for found in diagnose(*aligned(*folders), Mri())}
    assert {name for name, presence in presences.items() if presence == "only-in-father"} == set(more)
    assert set(presences.values()) == {"both", "only-in-father"}


def test_the_head_of_a_composite_model_is_the_head_of_its_text_model(tmp_path: Path) -> None:
    folders = pair(tmp_path, {HEAD: tensor(normal(1, 4))}, {"language_model.lm_head.weight": tensor(normal(2, 4))})
    assert list(aligned(*folders)[1].tensors) == [HEAD]


@pytest.mark.parametrize(
    ("his", "hers"),
    [
        (["model.language_model.w"], ["model.w", "language_model.model.w"]),
        (["model.w", "language_model.model.w"], ["model.language_model.w"]),
        (["model.w"], ["model.w", "model.language_model.w"]),
    ],
    ids=["two of hers for one of his", "two of his for one of hers", "the name is taken"],
)
def test_where_an_alias_is_not_clear_names_stay(his: list[str], hers: list[str]) -> None:
    assert renamed(hers, his) == {name: name for name in hers}


NAMES = st.builds(
    str.__add__,
    st.sampled_from([*PREFIXES, "language_model.", "language_model.lm_head.", "lm_head.", "mtp.", "model.visual.", ""]),
    st.sampled_from(["weight", "layers.0.w", "layers.1.w", "model.w", "language_model.w"]),
)


@given(st.sets(NAMES), st.sets(NAMES))
def test_renaming_loses_nothing_collides_never_and_only_makes_names_match(his: set[str], hers: set[str]) -> None:
    found = renamed(hers, his)
    assert sorted(found.values()) == sorted(hers), "each of her tensors once"
    assert len({*his, *found}) <= len({*his, *hers}), "no tensor more than before"
    assert his & hers <= {name for name, own in found.items() if name == own}, "what matched stays"
    for name, own in found.items():
        assert name == own or (name in his and name in spellings(own))


@given(st.sampled_from(PREFIXES), st.sampled_from(STEMS))
def test_the_spellings_of_a_tensor_are_the_same_place_under_every_prefix(prefix: str, stem: str) -> None:
    name = prefix + stem
    assert {name, *spellings(name)} == {other + stem for other in PREFIXES}


TIED = {"tie_word_embeddings": True}


def with_head(seed: int, head_seed: int | None = None) -> dict[str, Tensor]:
    held = {EMBED: tensor(normal(seed, 8, 4)), "model.norm.weight": tensor(normal(seed + 50, 4))}
    return held | {HEAD: held[EMBED] if head_seed is None else tensor(normal(head_seed, 8, 4))}


def without_head(seed: int) -> dict[str, Tensor]:
    return {name: held for name, held in with_head(seed).items() if name != HEAD}


@pytest.mark.parametrize("config", [TIED, {"text_config": TIED}, {**TIED, "text_config": {}}])
@pytest.mark.parametrize(
    ("his", "hers"),
    [(with_head(1), without_head(2)), (without_head(1), with_head(2)), (with_head(1), with_head(2))],
    ids=["father", "mother", "both"],
)
def test_a_tied_head_is_the_embedding_not_a_tensor(
    tmp_path: Path, his: dict[str, Tensor], hers: dict[str, Tensor], config: dict[str, Any]
) -> None:
    folders = pair(tmp_path, his, hers, **config)
    father, mother = aligned(*folders)
    assert list(father.tensors) == list(mother.tensors) == sorted(without_head(1))
    assert [view.pin for view in (father, mother)] == [folder.pin for folder in folders]


def test_where_no_config_speaks_of_tying_a_father_without_a_head_is_tied(tmp_path: Path) -> None:
    assert HEAD not in aligned(*pair(tmp_path, without_head(1), with_head(2)))[1].tensors


def test_where_no_config_speaks_of_tying_a_head_of_its_own_is_one_sided(tmp_path: Path) -> None:
    assert HEAD in aligned(*pair(tmp_path, without_head(1), with_head(2, 9)))[1].tensors


def test_where_no_config_speaks_of_tying_fathers_head_stays(tmp_path: Path) -> None:
    father, mother = aligned(*pair(tmp_path, with_head(1), with_head(2)))
    assert HEAD in father.tensors
    assert HEAD in mother.tensors


@pytest.mark.parametrize(
    ("his", "hers", "who"),
    [
        (without_head(1), with_head(2, 9), "mother"),
        (with_head(1, 9), without_head(2), "father"),
        (with_head(1), with_head(2, 9), "mother"),
    ],
)
def test_a_tied_head_that_is_not_the_embedding_is_refused(
    tmp_path: Path, his: dict[str, Tensor], hers: dict[str, Tensor], who: str
) -> None:
    folders = pair(tmp_path, his, hers, **TIED)
    with pytest.raises(BadInput, match=f"tensor {HEAD}: {who} {tmp_path / who} has an output head of its own") as told:
        aligned(*folders)
    assert "take parents that are both tied, or both not" in str(told.value)


def test_heads_that_both_parents_have_of_their_own_are_ordinary_tensors(tmp_path: Path) -> None:
    folders = pair(tmp_path, with_head(1, 8), with_head(2, 9), **TIED)
    assert all(HEAD in view.tensors for view in aligned(*folders))


def test_a_head_is_one_sided_where_the_embeddings_are_not_tied(tmp_path: Path) -> None:
    father, mother = aligned(*pair(tmp_path, with_head(1), without_head(2), tie_word_embeddings=False))
    assert HEAD in father.tensors
    assert HEAD not in mother.tensors


def test_heads_embeddings_and_parts_outside_the_text_model_are_known_by_name() -> None:
    assert is_head("language_model.lm_head.weight")
    assert not is_head("model.lm_head.bias")
    assert is_embedding("model.language_model.embed_tokens.weight")
    assert is_embedding("wte.weight")
    assert not is_embedding("mtp.embed_tokens.weight")
    assert not is_embedding("model.visual.pos_embed.weight")
    assert outside_text("model.visual.blocks.0.norm1.weight")
    assert not outside_text("model.language_model.norm.weight")

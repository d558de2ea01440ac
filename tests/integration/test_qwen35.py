"""A Qwen3.5 pair with vision tower and extra heads goes through diagnosis, recipe and export: no tensor is lost."""

import json
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from darwinmerge.checkpoint.folder import INDEX, ModelFolder
from darwinmerge.errors import BadInput
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Mixing, Recipe
from darwinmerge.mri.table import TensorRow
from darwinmerge.mri.task import mri, resolve
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import ExportSummary
from darwinmerge.pipeline.tasks import ExportInputs, MriInputs
from darwinmerge.publish.export import export
from darwinmerge.search.genome import Genome
from darwinmerge.store import FileStore, layout
from tests.qwen35 import BUFFER, CONV3D, FROM_FATHER, FROM_MOTHER, SHARDS, TEXT, Pair, changed, make_pair

GENOME = Genome(ratio=0.5, attn=0.4, ffn=0.6, embed=0.5, density_a=1.0, density_b=0.8)
LIMIT = 100_000  # bytes a shard


class Run(NamedTuple):
    """One merge by the engine's own stages."""

    pair: Pair
    rows: tuple[TensorRow, ...]
    recipe: Recipe
    summary: ExportSummary
    child: ModelFolder


def place_of(path: Path, pair: Pair) -> Place:
    store = FileStore(path / "store")
    where = Bindings(father=str(pair.father.path), mother=str(pair.mother.path), store=store.uri)
    return Place(where, store, threading.Event(), lambda done, of: None)


def merged(path: Path, pair: Pair, merge: Merge) -> Run:
    place = place_of(path, pair)
    pins = resolve(place)[0].pins
    table = mri(MriInputs(pins=pins, mri=Mri()), place)[0].table
    mixing = Mixing(mri_weight=0.7, merge=merge)
    inputs = ExportInputs(pins=pins, table=table, mixing=mixing, genome=GENOME, max_shard_size=f"{LIMIT}B")
    summary = export(inputs, 1, place)[0]
    recipe = place.child(GENOME, table, pins, mixing, 1)
    return Run(pair, place.table(table), recipe, summary, ModelFolder(path / "store" / layout.child(recipe.id)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("qwen35")
    return merged(path, make_pair(path), Merge(one_sided="Keep"))


def names(run: Run, account: str) -> set[str]:
    return {decision.name for decision in run.recipe.decisions if decision.account == account}


def test_every_tensor_ends_in_one_account(run: Run) -> None:
    assert run.summary.accounts == {
        "identical": 41,  # 30 of the vision tower, 11 norms
        "merged": 46,  # 45 of the text model, the 3-D convolution
        "not-a-weight": 1,
        "only-in-father": 4,
        "transplanted-father": 1,
        "transplanted-mother": 1,
    }
    union = {*run.pair.of_father, *run.pair.of_mother}
    assert [decision.name for decision in run.recipe.decisions] == sorted(union)
    assert sum(run.summary.accounts.values()) == len(union) == 94


def test_the_accounts_are_what_the_parents_were_made_to_be(run: Run) -> None:
    assert names(run, "only-in-father") == {name for name in run.pair.of_father if name.startswith("mtp.")}
    assert names(run, "not-a-weight") == {BUFFER}
    assert names(run, "transplanted-mother") == {FROM_MOTHER}
    assert names(run, "transplanted-father") == {FROM_FATHER}
    trained = {name for name in run.pair.of_mother if changed(name)} - {FROM_MOTHER, FROM_FATHER}
    assert names(run, "merged") == trained
    assert CONV3D in trained


def test_shapes_and_dtypes_are_fathers_f32_among_bf16_too(run: Run) -> None:
    found = {name: (located.info.dtype, located.info.shape) for name, located in run.child.tensors.items()}
    assert found == {name: (held.dtype, held.shape) for name, held in run.pair.of_father.items()}
    assert found[f"{TEXT}layers.0.linear_attn.A_log"][0] == found[f"{TEXT}layers.0.linear_attn.norm.weight"][0] == "F32"
    assert len(found[CONV3D][1]) == 5


def test_what_is_copied_is_copied_byte_for_byte_and_what_is_merged_is_between(run: Run) -> None:
    for decision in run.recipe.decisions:
        name, made = decision.name, run.child.bits(decision.name)
        sources = {"father": run.pair.of_father, "mother": run.pair.of_mother}
        if decision.account != "merged":
            assert made.tobytes() == sources[decision.source][name].bits.tobytes(), name
            continue
        a, b = (of[name].bits for of in (run.pair.of_father, run.pair.of_mother))
        assert not np.array_equal(made, b), name
        assert not np.array_equal(made, a) or made.size < 8, name


def test_the_index_names_every_tensor_once_and_every_shard_keeps_the_limit(run: Run) -> None:
    index = json.loads((run.child.path / INDEX).read_text())
    assert sorted(index["weight_map"]) == sorted(run.pair.of_father)
    files = {path.name: path.stat().st_size for path in run.child.path.glob("*.safetensors")}
    assert set(index["weight_map"].values()) == set(files)
    assert len(files) >= SHARDS
    held = {name: located.info.nbytes for name, located in run.child.tensors.items()}
    assert index["metadata"]["total_size"] == sum(held.values())
    for file in files:
        of_file = [held[name] for name, where in index["weight_map"].items() if where == file]
        assert sum(of_file) <= LIMIT or len(of_file) == 1


def test_transformers_loads_the_child_with_its_vision_tower_and_it_answers(run: Run) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(run.child.path, output_loading_info=True)
    model, told = loaded
    assert not told["missing_keys"]
    assert not told["mismatched_keys"]
    weights = model.state_dict()
    name = f"{TEXT}layers.0.mlp.up_proj.weight"
    assert weights[name].view(torch.int16).numpy().tobytes() == run.child.bits(name).tobytes()
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.arange(24).reshape(2, 12)).logits
    assert tuple(logits.shape) == (2, 12, 512)
    assert bool(torch.isfinite(logits).all())


def test_a_one_sided_tensor_is_refused_by_name_unless_it_is_to_be_kept(run: Run, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tensor mtp\.fc\.weight: father has it, mother hasn't.*oneSided: Keep"):
        merged(tmp_path, run.pair, Merge())


def text_name(name: str) -> str | None:
    """The name that a text-only model's file has for a tensor of the composite one."""
    return "model." + name.removeprefix(TEXT) if name.startswith(TEXT) else name if name == "lm_head.weight" else None


@pytest.fixture(scope="module")
def by_alias(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Father with his vision tower, Mother saved as a text model by itself."""
    path = tmp_path_factory.mktemp("alias")
    pair = make_pair(path, text_name)
    config = json.loads((pair.mother.path / "config.json").read_text())
    (pair.mother.path / "config.json").write_text(json.dumps(config["text_config"]))
    return merged(path, pair, Merge(one_sided="Keep"))


def test_a_text_model_merges_with_the_text_part_of_a_composite_one(run: Run, by_alias: Run) -> None:
    ours = {decision.name: decision for decision in by_alias.recipe.decisions}
    text = {d.name: d for d in run.recipe.decisions if d.name.startswith((TEXT, "lm_head"))}
    assert {name: ours[name] for name in text} == text
    others = {name: decision.account for name, decision in ours.items() if name not in text}
    assert others.pop(BUFFER) == "not-a-weight"
    assert set(others.values()) == {"only-in-father"}
    assert len(ours) == 94


def test_a_child_by_alias_has_the_same_text_weights_under_fathers_names(run: Run, by_alias: Run) -> None:
    assert list(by_alias.child.tensors) == list(run.child.tensors)
    for name in run.child.tensors:
        whole = run.child if name.startswith((TEXT, "lm_head")) else run.pair.father
        assert by_alias.child.bits(name).tobytes() == whole.bits(name).tobytes()

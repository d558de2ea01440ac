"""The health check by what layers do: a broken one is named wherever its weights look whole, and no other ever is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from darwinmerge.checkpoint.dtypes import narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.pair import aligned
from darwinmerge.evaluation.resident import load
from darwinmerge.experiment.manifest import Health, Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.health.activations import Prepared
from darwinmerge.health.compare import HealthTable, agreement_of
from darwinmerge.health.stations import Stations
from darwinmerge.health.task import examine
from darwinmerge.merge.arithmetic import merged_tensors
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.search.genome import Genome
from tests.build import Tensor, normal, write_model

GENOME = Genome(ratio=0.4, attn=0.6, ffn=0.3, embed=0.5, density_a=1.0, density_b=0.8)
MANY = Health(divergence=1e6)  # whatever layers do
Parents = tuple[ModelFolder, ModelFolder]
Change = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def parents(material: Path) -> Parents:
    folder = material / "parents/tiny-qwen35"
    return aligned(open_model(str(folder / "father")), open_model(str(folder / "mother")))


@pytest.fixture(scope="module")
def siblings(parents: Parents, tmp_path_factory: pytest.TempPathFactory) -> Parents:
    """Father, and a fine-tune of his that is as near to him as fine-tunes are."""

    def tuned(seed: int, held: Tensor) -> Tensor:
        values = widen(held.bits, held.dtype)
        step = normal(seed, values.size, scale=0.03 * float(np.sqrt(np.square(values).mean())))
        return held._replace(bits=narrow(values + step.astype(np.float32), held.dtype))

    father = parents[0]
    near = {name: tuned(seed, held) for seed, (name, held) in enumerate(tensors_of(father).items())}
    return father, folder_of(father, near, tmp_path_factory.mktemp("siblings") / "mother")


def tensors_of(folder: ModelFolder) -> dict[str, Tensor]:
    infos = {name: folder.info(name) for name in folder.tensors}
    return {name: Tensor(info.dtype, info.shape, folder.bits(name)) for name, info in infos.items()}


def folder_of(father: ModelFolder, tensors: dict[str, Tensor], path: Path) -> ModelFolder:
    """A folder with Father's side files and other weights."""
    write_model(path, tensors)
    for name in father.side_files():
        shutil.copyfile(father.path / name, path / name)
    return ModelFolder(path)


def child_of(
    parents: Parents,
    path: Path,
    genome: Genome = GENOME,
    merge: Merge | None = None,
    damage: dict[str, Change] | None = None,
) -> ModelFolder:
    """A child as a run writes it; tensors whose names have one of `damage`'s parts go through its change."""
    rows, mixing = list(diagnose(*parents, Mri())), Mixing(mri_weight=0.7, merge=merge or Merge())
    recipe = child_recipe(rows, genome, Pins(father="f", mother="m"), mixing, 1)
    made = zip(recipe.decisions, merged_tensors(recipe.decisions, recipe, *parents), strict=True)
    tensors = {d.name: Tensor(dtype, parents[0].info(d.name).shape, bits) for d, (bits, dtype) in made}
    for part, change in (damage or {}).items():
        tensors |= {name: change(held) for name, held in tensors.items() if part in name}
    return folder_of(parents[0], tensors, path / "child")


def checked(child: ModelFolder, parents: Parents, settings: Health | None = None) -> HealthTable:
    rows = list(diagnose(*parents, Mri()))
    return examine(child, parents, rows, Mri(), settings or Health(), lambda done, of: None)


def flags(table: HealthTable) -> dict[str, str]:
    return {layer.layer: layer.flag for layer in table.layers if layer.flag}


def permuted(held: Tensor) -> Tensor:
    """The same rows in another order: the same entropy, deviation and norm."""
    order = np.random.default_rng(0).permutation(held.shape[0])
    return held._replace(bits=np.ascontiguousarray(held.bits.reshape(held.shape)[order]).ravel())


@pytest.mark.parametrize("genome", [GENOME, Genome.of([0.0, 1.0, 0.0, 1.0, 1.0, 1.0]), Genome.of([1.0] * 5 + [0.3])])
@pytest.mark.parametrize("method", ["DareTies", "Linear", "Slerp"])
def test_an_undamaged_child_raises_no_flag(parents: Parents, tmp_path: Path, genome: Genome, method: str) -> None:
    table = checked(child_of(parents, tmp_path, genome, Merge.model_validate({"method": method})), parents)
    assert table.unseen == ""
    assert flags(table) == {}
    assert all(layer.shift for layer in table.layers if layer.layer != "-")


def test_nor_does_one_that_is_rescaled(parents: Parents, tmp_path: Path) -> None:
    genome = Genome.of([0.5, 0.5, 0.5, 0.5, 1.0, 0.1])
    assert flags(checked(child_of(parents, tmp_path, genome, Merge(rescale="Inverse")), parents)) == {}


@pytest.mark.parametrize("which", [0, 1])
def test_a_parent_is_its_own_undamaged_child(parents: Parents, which: int) -> None:
    table = checked(parents[which], parents)
    assert flags(table) == {}
    assert {layer.shift.child for layer in table.layers if layer.shift} == {0.0}
    assert table.agreement
    assert (table.agreement.father, table.agreement.mother)[which].same == 1


MISSED = pytest.mark.xfail(strict=True, raises=AssertionError, reason="a known miss (docs/method.md, Health)")


@pytest.mark.parametrize("layer", ["0", "1", pytest.param("2", marks=MISSED), "3"])
def test_a_layer_whose_weights_look_whole_is_named_and_no_other(parents: Parents, tmp_path: Path, layer: str) -> None:
    child = child_of(parents, tmp_path, damage={f".layers.{layer}.mlp.down_proj": permuted})
    assert flags(checked(child, parents, MANY)) == {}
    assert flags(checked(child, parents)) == {layer: "Diverged"}


@pytest.mark.parametrize(
    ("layer", "tensor"),
    [
        ("0", "linear_attn.conv1d"),
        ("1", "linear_attn.conv1d"),
        ("2", "linear_attn.conv1d"),
        pytest.param("0", "input_layernorm", marks=MISSED),
        pytest.param("3", "post_attention_layernorm", marks=MISSED),
    ],
)
def test_between_near_parents_one_small_broken_tensor_is_enough(
    siblings: Parents, tmp_path: Path, layer: str, tensor: str
) -> None:
    child = child_of(siblings, tmp_path, damage={f".layers.{layer}.{tensor}": permuted})
    assert flags(checked(child, siblings, MANY)) == {}
    assert flags(checked(child, siblings)) == {layer: "Diverged"}


def test_an_undamaged_child_of_near_parents_raises_no_flag(siblings: Parents, tmp_path: Path) -> None:
    assert flags(checked(child_of(siblings, tmp_path), siblings)) == {}


def test_where_the_parents_are_the_same_rounding_is_no_damage_and_noise_is(parents: Parents, tmp_path: Path) -> None:
    father = parents[0]

    def noisy(scale: float) -> Change:
        def change(held: Tensor) -> Tensor:
            values = widen(held.bits, held.dtype)
            noise = 1 + normal(1, values.size, scale=scale).astype(np.float32)
            return held._replace(bits=narrow(values * noise, held.dtype))

        return change

    def found(scale: float) -> list[str]:
        tensors = tensors_of(father)
        tensors |= {name: noisy(scale)(held) for name, held in tensors.items() if ".layers.1.mlp." in name}
        table = checked(folder_of(father, tensors, tmp_path / str(scale)), (father, father))
        return [x.layer for x in table.layers if x.shift and x.shift.times > Health().divergence]

    assert found(2.0**-9) == []
    assert found(0.2) == ["1"]


def test_a_value_that_is_no_number_fails_its_layer_only(parents: Parents, tmp_path: Path) -> None:
    def change(held: Tensor) -> Tensor:
        return held._replace(bits=np.append(held.bits[:-1], held.bits.dtype.type(0x7FC0)))

    table = checked(child_of(parents, tmp_path, damage={".layers.2.mlp.up_proj": change}), parents)
    assert flags(table) == {"2": "Fail"}
    assert HealthTable.model_validate_json(table.model_dump_json()) == table


def test_what_is_run_by_parts_is_what_transformers_runs(parents: Parents) -> None:
    ids = [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]
    with torch.inference_mode():
        whole = load(parents[0], "float32").eval()(input_ids=torch.tensor(ids), use_cache=False).logits
        parts = Stations(parents[0]).run(ids, lambda station, *a, **k: station.run(parents[0], *a, **k))
    assert torch.equal(whole, parts)


def test_the_same_child_has_the_same_table(parents: Parents, tmp_path: Path) -> None:
    child = child_of(parents, tmp_path)
    assert checked(child, parents) == checked(child, parents)


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("config.json", {"model_type": "tiny"}, "tiny"),
        ("config.json", {"num_hidden_layers": 5}, "no tensor in the file for the model's model.layers.4."),
        ("config.json", {"num_hidden_layers": 3}, "has no tensor model.layers.3."),
        ("tokenizer.json", None, "okenizer"),
    ],
    ids=["no such architecture", "a layer too many", "a layer too few", "no tokenizer"],
)
def test_what_cannot_be_run_is_told_in_a_line_and_the_rest_decides(
    parents: Parents, tmp_path: Path, file: str, text: dict[str, object] | None, why: str
) -> None:
    father, child = folder_of(parents[0], tensors_of(parents[0]), tmp_path), child_of(parents, tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        config = json.loads((tmp_path / file).read_text())
        config["layer_types"] = (config["layer_types"] * 2)[: int(str(text.get("num_hidden_layers", 4)))]
        (tmp_path / file).write_text(json.dumps({**config, **text}))
    table = checked(child, (father, parents[1]))
    assert table.status == "Pass"
    assert why in table.unseen
    assert "\n" not in table.unseen
    assert str(tmp_path) not in table.unseen
    assert all(layer.shift is None for layer in table.layers)
    assert agreement_of(table) == f"Activations were not looked at: {table.unseen}."


def test_memory_that_a_machine_does_not_have_is_no_word_on_a_model(parents: Parents, tmp_path: Path) -> None:
    def fill(done: int) -> None:
        torch.empty(1 << 55)

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        Prepared(child_of(parents, tmp_path), *parents).observe(fill)


def test_a_table_of_an_earlier_version_can_still_be_read() -> None:
    layer = {"layer": "0", "child": 1.0, "father": 1.0, "mother": 1.0, "moved": 0.5, "flag": ""}
    table = HealthTable.model_validate({"layers": [layer], "tensors": []})
    assert "the version that made this check had no probes" in agreement_of(table)

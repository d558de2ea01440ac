"""The health check names the layers of a child that stand out of their parents' range, and no others."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.manifest import Health, Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.health.compare import Activations, Distances, HealthTable, compare
from darwinmerge.health.distance import squares
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe
from darwinmerge.mri.figures import measure
from darwinmerge.mri.table import diagnose
from darwinmerge.search.genome import Genome
from tests.build import Tensor, elements, merged_tensor, normal, tensor, write_model

LAYERS = 4
Damage = Callable[[str, NDArray[np.float64]], NDArray[np.float64]]


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFolder, ModelFolder]:
    """Two fine-tunes of one base: the same weights but for a small step."""
    base = {"model.embed_tokens.weight": normal(1, 200, 32), "model.norm.weight": 1 + normal(2, 32)}
    for layer in range(LAYERS):
        for i, part in enumerate(("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")):
            base[f"model.layers.{layer}.{part}.weight"] = normal(10 * layer + i + 3, 64, 32)
        base[f"model.layers.{layer}.input_layernorm.weight"] = 1 + normal(90 + layer, 32)
    base["model.visual.blocks.0.attn.qkv.weight"] = normal(99, 40, 20)

    def tuned(seed: int) -> dict[str, Tensor]:
        steps = {name: normal(seed + i, *w.shape, scale=0.002) for i, (name, w) in enumerate(base.items())}
        return {name: tensor(w + steps[name]) for name, w in base.items()}

    folder = tmp_path_factory.mktemp("parents")
    return write_model(folder / "father", tuned(1000)), write_model(folder / "mother", tuned(2000))


def unharmed(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


def in_layer(layer: int, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Damage:
    return lambda name, values: change(values) if f".layers.{layer}." in name else values


def values_of(parents: tuple[ModelFolder, ModelFolder]) -> dict[str, NDArray[np.float64]]:
    """Father's tensors, flat."""
    return {name: widen(parents[0].bits(name), "BF16").astype(np.float64) for name in parents[0].tensors}


def checked(parents: tuple[ModelFolder, ModelFolder], damage: Damage, density: float = 0.8) -> HealthTable:
    """The health of an ordinary child whose tensors went through `damage`."""
    rows, pins = list(diagnose(*parents, Mri())), Pins(father="f", mother="m")
    genome = Genome(ratio=0.4, attn=0.6, ffn=0.3, embed=0.5, density_a=1.0, density_b=density)
    recipe = child_recipe(rows, genome, pins, Mixing(mri_weight=0.7, merge=Merge()), 1)
    figures, lie = {}, {}
    for decision in recipe.decisions:
        bits = merged_tensor(decision, recipe, *parents)[0]
        values = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
        harmed = tensor(damage(decision.name, values))
        figures[decision.name] = measure(elements(harmed), Mri())
        if not figures[decision.name].non_finite:
            flat = [harmed.bits, parents[0].bits(decision.name), parents[1].bits(decision.name)]
            child, mother = squares([np.ravel(bits) for bits in flat], ["BF16"] * 3)
            lie[decision.name] = Distances(child=child, mother=mother)
    return compare(rows, figures, lie, Mri().score, Health(), Activations())


def flags(table: HealthTable) -> dict[str, str]:
    return {layer.layer: layer.flag for layer in table.layers if layer.flag}


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_the_undamaged_child_of_an_ordinary_merge_raises_no_flag(
    parents: tuple[ModelFolder, ModelFolder], density: float
) -> None:
    table = checked(parents, unharmed, density)
    assert flags(table) == {}
    assert table.status == "Pass"


def test_every_layer_and_every_tensor_has_its_line(parents: tuple[ModelFolder, ModelFolder]) -> None:
    table = checked(parents, unharmed)
    assert [layer.layer for layer in table.layers] == ["-", "0", "1", "2", "3", "vision.0"]
    assert {found.name for found in table.tensors} == set(parents[0].tensors)


def test_a_layer_of_zeros_has_lost_its_function(parents: tuple[ModelFolder, ModelFolder]) -> None:
    table = checked(parents, in_layer(2, np.zeros_like))
    assert flags(table) == {"2": "FunctionLoss"}
    assert table.status == "Flagged"


def test_a_constant_layer_has_lost_its_function(parents: tuple[ModelFolder, ModelFolder]) -> None:
    assert flags(checked(parents, in_layer(0, lambda values: np.full_like(values, 0.02)))) == {"0": "FunctionLoss"}


@pytest.mark.parametrize("factor", [10, 0.1, -1])
def test_a_scaled_layer_is_named_though_its_entropy_is_what_it_was(
    parents: tuple[ModelFolder, ModelFolder], factor: float
) -> None:
    assert flags(checked(parents, in_layer(1, lambda values: values * factor))) == {"1": "Displaced"}


def test_two_layers_that_were_swapped_are_both_named(parents: tuple[ModelFolder, ModelFolder]) -> None:
    intact = values_of(parents)

    def swap(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        there, back = (".layers.0.", ".layers.2."), (".layers.2.", ".layers.0.")
        for old, new in (there, back):
            if old in name:
                return intact[name.replace(old, new)]
        return values

    assert flags(checked(parents, swap)) == {"0": "Displaced", "2": "Displaced"}


def test_a_layer_scaled_beyond_the_cap_of_the_norm_is_named(parents: tuple[ModelFolder, ModelFolder]) -> None:
    assert flags(checked(parents, in_layer(1, lambda values: values * 100))) == {"1": "Interference"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_fails_its_layer(parents: tuple[ModelFolder, ModelFolder], value: float) -> None:
    def one_bad(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.append(values[:-1], value)

    table = checked(parents, in_layer(3, one_bad))
    assert flags(table) == {"3": "Fail"}
    assert table.status == "Fail"


def test_the_worst_tensors_come_first_by_what_they_lost(parents: tuple[ModelFolder, ModelFolder]) -> None:
    name = "model.layers.2.mlp.up_proj.weight"
    table = checked(parents, lambda found, values: np.zeros_like(values) if found == name else values)
    deltas = [found.delta for found in table.tensors]
    assert deltas == sorted(deltas)
    assert table.tensors[0].name == name
    assert table.tensors[0].delta < -2


def test_the_delta_is_the_childs_score_less_the_better_parents(parents: tuple[ModelFolder, ModelFolder]) -> None:
    rows = list(diagnose(*parents, Mri()))
    table = compare(rows, {row.name: row.father for row in rows}, {}, Mri().score, Health(), Activations())
    score = Mri().score
    wanted = {row.name: min(0.0, row.father.score(score) - row.mother.score(score)) for row in rows}
    assert {found.name: found.delta for found in table.tensors} == pytest.approx(wanted, abs=1e-9)


def test_thresholds_are_settings(parents: tuple[ModelFolder, ModelFolder]) -> None:
    rows = list(diagnose(*parents, Mri()))
    figures = {row.name: row.mother for row in rows}
    strict = Health(interference=1.0000001, function_loss=0.9999999)
    assert flags(compare(rows, figures, {}, Mri().score, strict, Activations())) == {}
    lower = {name: f.model_copy(update={"entropy": f.entropy * 0.95}) for name, f in figures.items()}
    assert flags(compare(rows, lower, {}, Mri().score, Health(), Activations())) == {}
    assert set(flags(compare(rows, lower, {}, Mri().score, strict, Activations())).values()) == {"FunctionLoss"}

"""A merged tensor is the published formula in float32, the same bits from the kernel and from plain numpy."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import Bits, convert, narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge import mask
from darwinmerge.merge.arithmetic import jobs, reference
from darwinmerge.merge.drawn import NONE
from darwinmerge.merge.kernel import merge_bf16
from darwinmerge.merge.recipe import Decision, Mixing, Pins, Recipe, child_recipe, linear_recipe
from darwinmerge.mri.table import TensorRow, diagnose
from darwinmerge.search.genome import Genome
from tests.build import Tensor, merged_tensor, normal, tensor, write_model

BOTH = ("BF16", "BF16")
W, COPY, ONE_SIDED, COUNTER = "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "mtp.fc.weight", "counter"

PATTERNS = st.integers(0, 0xFFFF) | st.sampled_from([0x7FC0, 0x7F80, 0xFF80, 0x7F7F, 0xFF7F, 1, 0x8001, 0x8000, 0])
PAIRS = st.lists(st.tuples(PATTERNS, PATTERNS), min_size=1, max_size=40)


def kernel(a: Bits, b: Bits, coefficient: float, key: tuple[int, int], keep_below: int, start: int) -> Bits:
    out = np.empty(len(a), np.uint16)
    merge_bf16(a, b, out, np.float32(coefficient), *key, keep_below, start, NONE, False)
    return out


@given(PAIRS, st.floats(0, 10, width=32), st.floats(0, 1), st.integers(0, 2**40), st.integers(0, 9))
def test_kernel_and_numpy_agree_on_every_bit(
    pairs: list[tuple[int, int]], coefficient: float, density: float, start: int, seed: int
) -> None:
    a, b = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    key, keep_below = mask.key_of(seed, "b", W), mask.threshold(density)
    plain = reference(a, b, BOTH, np.float32(coefficient), key, keep_below, start)
    assert np.array_equal(kernel(a, b, coefficient, key, keep_below, start), plain)


@pytest.mark.parametrize("keep_below", [0, 1, 2**31, 2**32 - 1, 2**32])
def test_kernel_and_numpy_agree_over_all_patterns(keep_below: int) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.permutation(65536).astype(np.uint16), generator.permutation(65536).astype(np.uint16)
    plain = reference(a, b, BOTH, np.float32(0.37), (1, 2), keep_below, 2**33)
    assert np.array_equal(kernel(a, b, 0.37, (1, 2), keep_below, 2**33), plain)


def test_a_draw_equal_to_the_threshold_is_dropped() -> None:
    a, b, key = tensor(np.zeros(50)).bits, tensor(np.ones(50)).bits, mask.key_of(1, "b", W)
    drawn = mask.draws(0, 50, key)
    kept = reference(a, b, BOTH, np.float32(1.0), key, int(drawn[7]), 0) != a
    assert np.array_equal(kept, drawn < drawn[7])
    assert np.array_equal(kernel(a, b, 1.0, key, int(drawn[7]), 0) != a, kept)


@given(st.integers(0, 99), st.floats(0, 1), st.sampled_from([0.02, 1.0, 100.0]))
def test_a_merged_element_is_the_formula_to_one_step_of_bf16(seed: int, ratio: float, scale: float) -> None:
    a, b = (tensor(normal(seed + i, 500, scale=scale)).bits for i in range(2))
    wide_a, wide_b = (widen(x, "BF16").astype(np.float64) for x in (a, b))
    found = widen(reference(a, b, BOTH, np.float32(ratio), (0, 0), 2**32, 0), "BF16").astype(np.float64)
    exact = wide_a + (wide_b - wide_a) * ratio
    size = np.maximum(np.abs(wide_a), np.abs(wide_b))  # float32 rounds relative to the parents, bf16 to the child
    assert (np.abs(found - exact) <= np.abs(exact) * 2.0**-8 + size * 2.0**-22).all()


def test_every_operation_is_rounded_to_float32_on_its_own() -> None:
    a, b = normal(1, 4000).astype(np.float32), normal(2, 4000).astype(np.float32)
    step = (b - a).astype(np.float32)
    step = (step * np.float32(0.3)).astype(np.float32)
    expected = (a + step).astype(np.float32)
    assert np.array_equal(reference(a, b, ("F32", "F32"), np.float32(0.3), (0, 0), 2**32, 0), expected)
    fused = (a.astype(np.float64) + (b - a).astype(np.float64) * np.float64(np.float32(0.3))).astype(np.float32)
    assert not np.array_equal(expected, fused)  # the test would notice a fused multiply-add


def test_the_result_has_fathers_dtype() -> None:
    a, b = tensor([0.5, 1.0], "F32"), tensor([1.5, 3.0])
    found = reference(a.bits, b.bits, ("F32", "BF16"), np.float32(0.5), (0, 0), 2**32, 0)
    assert found.dtype == np.float32
    assert found.tolist() == [1.0, 2.0]


# ---- whole tensors, from folders


@pytest.fixture
def parents(tmp_path: Path) -> tuple[ModelFolder, ModelFolder]:
    shared = {COPY: tensor(normal(9, 5)), COUNTER: tensor([1, 2, 3], "I64")}
    father: dict[str, Tensor] = {**shared, W: tensor(normal(1, 30, 41)), "A_log": tensor(normal(2, 8), "F32")}
    mother: dict[str, Tensor] = {**shared, W: tensor(normal(3, 30, 41)), "A_log": tensor(normal(4, 8))}
    mother[ONE_SIDED] = tensor(normal(5, 6), "F16")
    return write_model(tmp_path / "father", father, 2), write_model(tmp_path / "mother", mother)


KEEP = Merge(one_sided="Keep")


@pytest.fixture
def rows(parents: tuple[ModelFolder, ModelFolder]) -> list[TensorRow]:
    return list(diagnose(*parents, Mri()))


def child(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow], density: float = 0.5, merge: Merge = KEEP
) -> tuple[Recipe, dict[str, tuple[Bits, str]]]:
    pins = Pins(father=parents[0].pin, mother=parents[1].pin)
    genome = Genome(ratio=0.5, attn=0.5, ffn=0.5, embed=0.5, density_a=1.0, density_b=density)
    recipe = child_recipe(rows, genome, pins, Mixing(mri_weight=0.7, merge=merge), 11)
    return recipe, {d.name: merged_tensor(d, recipe, *parents) for d in recipe.decisions}


def moved(child: Bits, father: Bits) -> NDArray[np.bool_]:
    return np.asarray(child != father)


def test_every_tensor_of_the_child_has_fathers_dtype_and_size_where_he_has_it(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow]
) -> None:
    _, tensors = child(parents, rows)
    for name, (bits, dtype) in tensors.items():
        holder = parents[0] if name in parents[0].tensors else parents[1]
        assert dtype == holder.info(name).dtype
        assert len(bits) == holder.info(name).size


@pytest.mark.parametrize("arithmetic", ["Float32", "Source"])
def test_dtype_bfloat16_rounds_every_weight_once_and_leaves_integers(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow], arithmetic: Literal["Float32", "Source"]
) -> None:
    _, wide = child(parents, rows, merge=Merge(one_sided="Keep", arithmetic=arithmetic))
    _, tensors = child(parents, rows, merge=Merge(one_sided="Keep", arithmetic=arithmetic, dtype="bfloat16"))
    assert {dtype for _, dtype in wide.values()} > {"F32", "I64"}
    for name, (bits, dtype) in tensors.items():
        of_wide, wide_dtype = wide[name]
        assert dtype == ("I64" if wide_dtype == "I64" else "BF16")
        assert bits.tobytes() == (of_wide if dtype == "I64" else convert(of_wide, wide_dtype, "BF16")).tobytes()


def test_a_transplant_from_mother_takes_fathers_dtype(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 64).reshape(8, 8)
    father = write_model(tmp_path / "a", {W: tensor(np.ones((8, 8)))})
    mother = write_model(tmp_path / "b", {W: tensor(values, "F32")})
    decision = Decision(name=W, account="transplanted-mother", source="mother")
    recipe = Recipe(father="f", mother="m", seed=0, density=1.0, rescale="None", decisions=(decision,))
    bits, dtype = merged_tensor(decision, recipe, father, mother)
    assert dtype == "BF16"
    assert bits.tobytes() == narrow(values.ravel().astype(np.float32), "BF16").tobytes()


def test_copied_tensors_are_bit_identical_to_their_source(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow]
) -> None:
    _, tensors = child(parents, rows)
    father, mother = parents
    assert tensors[COPY][0].tobytes() == father.bits(COPY).tobytes()
    assert tensors[COUNTER][0].tobytes() == father.bits(COUNTER).tobytes()
    assert tensors[ONE_SIDED][0].tobytes() == mother.bits(ONE_SIDED).tobytes()


def test_blocks_change_no_bit(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, tensors = child(parents, rows)
    for folder in parents:
        monkeypatch.setattr(folder.files, "block", 194)
    for decision in recipe.decisions:
        cut = [job() for job in jobs(decision, recipe, *parents)]
        assert np.concatenate(cut).tobytes() == tensors[decision.name][0].tobytes()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_linear_share_of_zero_or_one_is_an_exact_copy_of_a_parent(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow], share: float
) -> None:
    recipe = linear_recipe(rows, share, Pins(father="f", mother="m"), KEEP)
    source = parents[round(share)]
    for decision in recipe.decisions:
        if decision.name in source.tensors:
            bits, dtype = merged_tensor(decision, recipe, *parents)
            assert dtype == source.info(decision.name).dtype
            assert bits.tobytes() == source.bits(decision.name).tobytes()


def test_elements_move_where_the_mask_keeps_them_and_nowhere_else(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow]
) -> None:
    recipe, tensors = child(parents, rows, 0.3)
    kept = mask.draws(0, 30 * 41, mask.key_of(recipe.seed, "b", W)).astype(np.uint64) < mask.threshold(0.3)
    assert not moved(tensors[W][0], parents[0].bits(W))[~kept].any()
    assert moved(tensors[W][0], parents[0].bits(W))[kept].mean() > 0.95


def test_a_higher_density_moves_all_that_a_lower_one_moves(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow]
) -> None:
    low, high = (moved(child(parents, rows, density)[1][W][0], parents[0].bits(W)) for density in (0.3, 0.8))
    assert not (low & ~high).any()


def test_inverse_rescaling_moves_kept_elements_further(
    parents: tuple[ModelFolder, ModelFolder], rows: list[TensorRow]
) -> None:
    merge = Merge(rescale="Inverse", one_sided="Keep")
    recipe, tensors = child(parents, rows, 0.5, merge)
    ratio = {decision.name: decision.ratio for decision in recipe.decisions}[W]
    a, b = (widen(folder.bits(W), "BF16") for folder in parents)
    exact = narrow(a + (b - a) * np.float32(ratio * 2), "BF16")
    kept = moved(child(parents, rows, 0.5)[1][W][0], parents[0].bits(W))
    assert np.array_equal(tensors[W][0][kept], exact[kept])


def test_a_tensor_that_is_no_weight_and_only_in_mother_is_taken_over_from_her(tmp_path: Path) -> None:
    weights = {W: tensor(normal(1, 3, 4))}
    father = write_model(tmp_path / "f", weights)
    mother = write_model(tmp_path / "m", {**weights, COUNTER: tensor([1, 2], "I64")})
    _, tensors = child((father, mother), list(diagnose(father, mother, Mri())))
    assert tensors[COUNTER][0].tolist() == [1, 2]


def test_mother_herself_has_her_own_tensors_that_are_no_weights(tmp_path: Path) -> None:
    father, mother = (
        write_model(tmp_path / name, {W: tensor(normal(1, 3, 4)), COUNTER: tensor([count], "I64")})
        for name, count in (("f", 1), ("m", 2))
    )
    recipe = linear_recipe(list(diagnose(father, mother, Mri())), 1.0, Pins(father="f", mother="m"), KEEP)
    found = {d.name: merged_tensor(d, recipe, father, mother)[0].tolist() for d in recipe.decisions}
    assert found[COUNTER] == [2]

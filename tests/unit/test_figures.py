"""The figures of a tensor are those of plain float64 numpy, however it is stored and however it is cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.experiment.manifest import Mri, Score
from darwinmerge.mri.figures import BLOCK, Figures, measure
from tests.build import Tensor, elements, normal, tensor

DTYPES = ("BF16", "F16", "F32")


def values_of(t: Tensor) -> NDArray[np.float64]:
    return widen(t.bits, t.dtype).astype(np.float64)


def by_numpy(values: NDArray[np.float64], bins: int = 256, base: float = 2.0) -> dict[str, float]:
    """The published figures, as one would write them down."""
    counts, _ = np.histogram(values, bins)
    p = counts[counts > 0] / counts.sum()
    return {
        "norm": float(np.sqrt((values**2).sum())),
        "entropy": float(-(p * np.log(p)).sum() / np.log(base)),
        "std": float(values.std(ddof=1)),
        "mean": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
        "zeros": int((values == 0).sum()),
        "non_finite": 0,
    }


def figures(t: Tensor, **settings: Any) -> dict[str, float]:
    return measure(elements(t), Mri(**settings)).model_dump()


SHAPES = {
    "weights": normal(1, 300, 500),
    "wide": normal(2, 5000, scale=300.0),
    "skewed": np.random.default_rng(3).exponential(0.1, 70_001),
    "few": np.array([0.5, -0.25, 0.0, 0.0, 3.0]),
    "two values": np.array([1.0, 2.0] * 50),
    "a spike": np.append(np.zeros(9999), 1000.0),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)
def test_figures_are_those_of_float64_numpy(values: NDArray[np.float64], dtype: str) -> None:
    t = tensor(values, dtype)
    assert figures(t) == pytest.approx(by_numpy(values_of(t)), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bins", "base"), [(2, 2.0), (100, 10.0), (4096, 2.718281828459045)])
def test_bins_and_base_of_the_entropy_are_settings(dtype: str, bins: int, base: float) -> None:
    t = tensor(normal(4, 20_000), dtype)
    assert figures(t, bins=bins, entropy_base=base) == pytest.approx(by_numpy(values_of(t), bins, base), rel=1e-11)


@given(st.lists(st.floats(-1e4, 1e4, width=16), min_size=2, max_size=50), st.sampled_from(DTYPES))
def test_figures_of_any_numbers_are_those_of_float64_numpy(numbers: list[float], dtype: str) -> None:
    t = tensor(np.array(numbers), dtype)
    assert figures(t) == pytest.approx(by_numpy(values_of(t)), rel=1e-9, abs=1e-9)


def test_a_uniform_histogram_has_the_logarithm_of_its_bins() -> None:
    assert figures(tensor(np.arange(512), "F32"))["entropy"] == 8.0


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_what_follows_in_memory_changes_no_bit(dtype: str) -> None:
    t = tensor(normal(5, 2 * BLOCK + 17), dtype)
    whole = np.concatenate([t.bits, t.bits])
    assert measure(elements(t._replace(bits=whole[: len(t.bits)])), Mri()) == measure(elements(t), Mri())


def test_f32_is_summed_block_by_block_in_order() -> None:
    values = normal(6, 3 * BLOCK + 5)
    t = tensor(values, "F32")
    squares = 0.0
    for start in range(0, len(t.bits), BLOCK):
        squares += float((t.bits[start : start + BLOCK].astype(np.float64) ** 2).sum())
    assert measure(elements(t), Mri()).norm == np.sqrt(squares)


def test_the_order_of_a_bf16_tensor_changes_no_bit() -> None:
    t = tensor(normal(7, 5000))
    shuffled = np.random.default_rng(8).permutation(t.bits)
    assert measure(elements(t), Mri()) == measure(elements(t._replace(bits=shuffled)), Mri())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [[], [0.0] * 9, [-1.5] * 7, [4.0]], ids=["empty", "zero", "constant", "one"])
def test_a_tensor_without_a_distribution_is_degenerate_and_no_figure_is_nan(dtype: str, values: list[float]) -> None:
    found = measure(elements(tensor(np.array(values), dtype)), Mri())
    assert found.degenerate
    assert (found.entropy, found.std) == (0.0, 0.0)
    assert found.norm == pytest.approx(np.sqrt(np.sum(np.square(values))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_counted_and_left_out(dtype: str) -> None:
    values = normal(9, 400)
    clean = measure(elements(tensor(values, dtype)), Mri())
    dirty = measure(elements(tensor(np.append(values, [np.nan, np.inf, -np.inf]), dtype)), Mri())
    assert dirty.non_finite == 3
    assert dirty.degenerate
    assert not clean.degenerate
    assert dirty == clean.model_copy(update={"non_finite": 3})


def test_a_tensor_that_is_nowhere_finite_has_no_figures() -> None:
    for dtype in DTYPES:
        assert measure(elements(tensor([np.nan] * 4, dtype)), Mri()) == Figures(non_finite=4)


@pytest.mark.parametrize(("norm", "counted"), [(40.0, 40.0), (100.0, 100.0), (2500.0, 100.0)])
def test_the_score_has_the_published_weights_and_cap(norm: float, counted: float) -> None:
    found = Figures(norm=norm, entropy=6.5, std=0.02)
    assert found.score(Score()) == pytest.approx(6.5 * 0.5 + 0.02 * 0.3 + counted * 0.002, rel=1e-15)


def test_the_weights_of_the_score_are_settings() -> None:
    weights = Score(entropy=0.0, std=1.0, norm=0.5, norm_cap=10.0)
    assert Figures(norm=40.0, entropy=6.5, std=0.25).score(weights) == 5.25


@pytest.mark.parametrize("value", [0.0, -1.0, 1e14, 3e38, -3e38])
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_one_value_however_large_has_no_spread(value: float, dtype: str) -> None:
    """As a mask's buffer has it."""
    found = figures(tensor(np.full(7, value), dtype))
    (held,) = {*values_of(tensor(np.full(7, value), dtype))}
    assert (found["entropy"], found["std"], found["min"], found["max"]) == (0.0, 0.0, held, held)
    assert found["norm"] == pytest.approx(abs(held) * 7**0.5)

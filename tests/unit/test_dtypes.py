"""bfloat16 by its bits: widening is exact, narrowing rounds to nearest, ties to even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darwinmerge.checkpoint import dtypes
from darwinmerge.checkpoint.dtypes import DTYPES, narrow, widen

PATTERNS = np.arange(65536, dtype=np.uint16)


def value_of(pattern: NDArray[np.int64]) -> NDArray[np.float64]:
    """What bfloat16 patterns of finite positive numbers mean, by the definition: 8 bits exponent, 7 bits fraction."""
    exponent, fraction = pattern >> 7, (pattern & 0x7F).astype(np.float64)
    normal = np.ldexp(1 + fraction / 128, exponent - 127)
    return np.where(exponent == 0, np.ldexp(fraction / 128, -126), normal)


def nearest(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """bfloat16 patterns of finite numbers, by looking for the nearest of all, in float64."""
    magnitudes = np.abs(values.astype(np.float64))
    grid = value_of(np.arange(0x7F81))  # up to infinity, which stands at 2**128 for the rounding
    above = np.searchsorted(grid, magnitudes)
    above = np.clip(above, 1, len(grid) - 1)
    below = above - 1
    up, down = grid[above] - magnitudes, magnitudes - grid[below]
    chosen = np.where(down < up, below, np.where(up < down, above, np.where(below % 2 == 0, below, above)))
    signs = np.signbit(values).astype(np.int64) << 15
    return np.asarray(chosen | signs, np.uint16)


def test_every_bf16_pattern_survives_widening_and_narrowing() -> None:
    back = narrow(widen(PATTERNS, "BF16"), "BF16")
    nan = np.isnan(widen(PATTERNS, "BF16"))
    assert np.array_equal(back[~nan], PATTERNS[~nan])
    assert set(back[nan].tolist()) == {0x7FC0}


def test_widened_bf16_has_the_value_that_its_bits_define() -> None:
    finite = PATTERNS[:0x7F80]
    assert np.array_equal(widen(finite, "BF16").astype(np.float64), value_of(finite.astype(np.int64)))
    assert np.array_equal(widen(finite | np.uint16(0x8000), "BF16"), -widen(finite, "BF16"))


def test_numbers_half_way_between_two_bf16_go_to_the_even_one() -> None:
    low = PATTERNS[:0x7F7F].astype(np.uint32) << np.uint32(16)
    half_way = (low | np.uint32(0x8000)).view(np.float32)
    assert np.array_equal(narrow(half_way, "BF16"), nearest(half_way))
    assert not (narrow(half_way, "BF16") % 2).any()


@pytest.mark.parametrize("offset", [0x0001, 0x7FFF, 0x8001, 0xFFFF])
def test_numbers_beside_the_half_way_go_to_the_nearer_one(offset: int) -> None:
    values = ((PATTERNS[:0x7F7F].astype(np.uint32) << np.uint32(16)) | np.uint32(offset)).view(np.float32)
    for signed in (values, -values):
        assert np.array_equal(narrow(signed, "BF16"), nearest(signed))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=64))
def test_any_finite_float32_goes_to_the_nearest_bf16(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    assert np.array_equal(narrow(values, "BF16"), nearest(values))


def test_a_number_too_large_for_the_dtype_becomes_infinite() -> None:
    greatest = np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max], np.float32)
    assert narrow(greatest, "BF16").tolist() == [0x7F80, 0xFF80]
    assert np.isinf(narrow(greatest, "F16")).all()


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.weight])
def test_infinities_stay_and_every_nan_becomes_one_quiet_nan(dtype: str) -> None:
    words = np.array([0x7F800000, 0xFF800000, 0x7F800001, 0xFFC12345], np.uint32).view(np.float32)
    wide = widen(narrow(words, dtype), dtype)
    assert wide[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(wide[2:]).all()
    first, second = (narrow(words[i : i + 1], dtype).tobytes() for i in (2, 3))
    assert first == second


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_f16_and_f32_widen_exactly(dtype: str) -> None:
    values = np.array([0.1, -3.5, 2e-7], np.float64).astype(DTYPES[dtype].bits)
    assert np.array_equal(widen(values, dtype).astype(np.float64), values.astype(np.float64))


def test_only_floating_point_dtypes_are_weights() -> None:
    assert {name for name, dtype in DTYPES.items() if dtype.weight} == {"F64", "F32", "F16", "BF16"}


@given(st.binary(max_size=64), st.integers(0, 63), st.integers(1, 7))
def test_bytes_are_compared_whole_whatever_the_size_of_a_comparison(data: bytes, at: int, compared: int) -> None:
    one = np.frombuffer(data, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dtypes, "COMPARED", compared)
        assert dtypes.same_bytes(one, one.copy())
        assert not dtypes.same_bytes(one, np.append(one, np.uint8(0)))
        if data:
            other = one.copy()
            other[at % len(data)] ^= 1
            assert not dtypes.same_bytes(one, other)


def test_nan_is_the_same_bytes_as_itself_and_zero_differs_from_minus_zero() -> None:
    assert dtypes.same_bytes(np.array([np.nan], "<f4"), np.array([np.nan], "<f4"))
    assert not dtypes.same_bytes(np.array([0.0], "<f4"), np.array([-0.0], "<f4"))

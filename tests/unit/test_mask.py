"""The random mask: Philox by counter, one draw an element, the same however a tensor is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.merge.mask import M0, M1, ROUNDS, W0, W1, draws, key_of, philox, threshold

M32 = 0xFFFFFFFF


def one_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x32 in plain integers, with all four counter words, as the paper has it."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & M32, (p0 >> 32) ^ c3 ^ k1, p0 & M32
        k0, k1 = (k0 + W0) & M32, (k1 + W1) & M32
    return c0, c1, c2, c3


# From the known-answer file of Random123, the library of the paper's authors.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((M32, M32, M32, M32), (M32, M32), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_constants_and_rounds_are_those_of_philox4x32_10(
    counter: tuple[int, int, int, int], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    assert one_block(counter, key) == answer


def test_the_first_block_is_the_known_answer() -> None:
    assert tuple(int(word[0]) for word in philox(np.zeros(1, np.uint64), (0, 0))) == KNOWN[0][2]


@given(st.integers(0, 2**64 - 1), st.integers(0, M32), st.integers(0, M32))
def test_counters_of_64_bits_give_the_words_of_plain_integers(counter: int, k0: int, k1: int) -> None:
    found = tuple(int(word[0]) for word in philox(np.array([counter], np.uint64), (k0, k1)))
    assert found == one_block((counter & M32, counter >> 32, 0, 0), (k0, k1))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 2**40))
def test_draws_do_not_depend_on_where_a_tensor_is_cut(first: int, second: int, start: int) -> None:
    key = key_of(7, "b", "w")
    middle, stop = start + first, start + first + second
    parts = np.concatenate([draws(start, middle, key), draws(middle, stop, key)])
    assert np.array_equal(parts, draws(start, stop, key))


@pytest.mark.parametrize("density", [0.1, 0.5, 0.8, 0.999])
def test_the_share_of_kept_elements_is_the_density(density: float) -> None:
    kept = draws(0, 200_000, key_of(0, "b", "w")).astype(np.uint64) < threshold(density)
    assert kept.mean() == pytest.approx(density, abs=0.005)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_density_keeps_all_that_a_lower_one_keeps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    drawn = draws(0, 500, key_of(3, "b", "w")).astype(np.uint64)
    assert not ((drawn < threshold(low)) & ~(drawn < threshold(high))).any()


def test_density_one_keeps_the_greatest_draw_too_and_zero_keeps_none() -> None:
    assert threshold(1.0) == 2**32 > M32
    assert threshold(0.0) == 0


def test_seed_stream_and_name_each_make_another_mask() -> None:
    keys = {key_of(seed, stream, name) for seed in (0, 1) for stream in "ab" for name in ("v", "w")}
    assert len(keys) == 8


def test_keys_are_the_first_words_of_a_sha256_and_never_change() -> None:
    assert key_of(0, "b", "model.norm.weight") == (0xAEE30A53, 0xB0C5EEA3)

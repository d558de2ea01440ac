"""The merge in torch has the bits of the reference in numpy, and `Source` those of the card's own expression."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.checkpoint.dtypes import BF16_NAN, DTYPES, Bits
from darwinmerge.merge import mask
from darwinmerge.merge import on_torch as on_torch_module
from darwinmerge.merge.arithmetic import reference
from darwinmerge.merge.on_torch import CPU_BLOCK, draws, merged, to_bits, to_torch
from darwinmerge.merge.source import source_reference, step_dtype
from tests.build import normal, tensor

FLOATS = ("BF16", "F16", "F32", "F64")
PAIRS = [(a, b) for a in FLOATS for b in FLOATS]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
M32 = 0xFFFFFFFF
KEY = mask.key_of(5, "b", "w")
# of each dtype: quiet and signalling NaN, infinities, greatest, least normal, subnormals, zeros, one
EDGES = {
    "BF16": [0x7FC0, 0xFFC1, 0x7F81, 0x7F80, 0xFF80, 0x7F7F, 0xFF7F, 0x0080, 0x007F, 1, 0x8001, 0, 0x8000, 0x3F80],
    "F16": [0x7E00, 0xFE01, 0x7C01, 0x7C00, 0xFC00, 0x7BFF, 0xFBFF, 0x0400, 0x03FF, 1, 0x8001, 0, 0x8000, 0x3C00],
    "F32": [
        *(0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x007FFFFF),
        # of F16: half the least subnormal, the greatest and the least normal, each between two values
        *(1, 0x80000001, 0, 0x80000000, 0x3F800000, 0x33000000, 0x477FF000, 0x387FC000),
    ],
    "F64": [*(x << 52 for x in (0x7FF, 0xFFF, 0x3FF, 0x7FE, 0x380, 0x36A, 1, 0, 0x800)), (0x7FF << 52) | 1, 1],
}


def patterns(dtype: str) -> st.SearchStrategy[int]:
    bits = 8 * DTYPES[dtype].size
    exponent = {"F16": 10, "BF16": 7, "F32": 23, "F64": 52}[dtype]
    near_one = st.integers(0, 2**exponent - 1).map(lambda x: x | (EDGES[dtype][-1] if bits < 32 else 0x3F800000))
    found = st.integers(0, 2**bits - 1) | st.sampled_from(EDGES[dtype])
    return found | near_one if bits <= 32 else found


def held(words: list[int], dtype: str) -> Bits:
    size = DTYPES[dtype].size
    return np.array(words, f"u{size}").view(DTYPES[dtype].bits)


@st.composite
def parents(draw: st.DrawFn) -> tuple[Bits, Bits, tuple[str, str]]:
    """Elements of two tensors of any bits."""
    dtypes = draw(st.sampled_from(PAIRS))
    words = draw(st.lists(st.tuples(*map(patterns, dtypes)), min_size=1, max_size=40))
    of_a, of_b = zip(*words, strict=True)
    return held(list(of_a), dtypes[0]), held(list(of_b), dtypes[1]), dtypes


def on_torch(a: Bits, b: Bits, dtypes: tuple[str, str], *rest: Any, **more: Any) -> Bits:
    """The merge on every device that this machine has: the same bits from all."""
    found = [to_bits(merged(to_torch(a, dtypes[0], d), to_torch(b, dtypes[1], d), *rest, **more)) for d in DEVICES]
    assert all(equal(one, found[0]) for one in found)
    return found[0]


def equal(one: Bits, other: Bits) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def kept(start: int, count: int, keep_below: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(mask.draws(start, start + count, KEY).astype(np.uint64) < np.uint64(keep_below))


COEFFICIENTS = st.floats(0, 10, width=32) | st.sampled_from([0.0, 1.0, 0.5, 2.0**-140])
DTYPES_OUT = {"F32": torch.float32, "BF16": torch.bfloat16}
DENSITIES = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])


# ---- Float32


@given(parents(), COEFFICIENTS, DENSITIES, st.integers(0, 2**40), st.integers(1, 50))
def test_torch_and_numpy_agree_on_every_bit_however_a_tensor_is_cut(
    pair: tuple[Bits, Bits, tuple[str, str]], coefficient: float, density: float, start: int, block: int
) -> None:
    ratio, keep_below = np.float32(coefficient), mask.threshold(density)
    plain = reference(*pair, ratio, KEY, keep_below, start)
    assert equal(on_torch(*pair, ratio, KEY, keep_below, start, block=block), plain)


@given(parents(), st.sampled_from(sorted(DTYPES_OUT)), DENSITIES)
def test_torch_and_numpy_agree_on_another_output_dtype(
    pair: tuple[Bits, Bits, tuple[str, str]], out: str, density: float
) -> None:
    keep_below = mask.threshold(density)
    chosen = kept(0, len(pair[0]), keep_below)
    found = on_torch(*pair, np.float32(0.4), KEY, keep_below, out=DTYPES_OUT[out])
    assert equal(found, reference(*pair, np.float32(0.4), KEY, keep_below, 0, out))
    found = on_torch(*pair, np.float32(0.4), KEY, keep_below, arithmetic="Source", out=DTYPES_OUT[out])
    assert equal(found, source_reference(*pair, np.float32(0.4), chosen, out))


@pytest.mark.parametrize("dtypes", PAIRS)
def test_torch_and_numpy_agree_on_every_pair_of_edges(dtypes: tuple[str, str]) -> None:
    words = [(x, y) for x in EDGES[dtypes[0]] for y in EDGES[dtypes[1]]]
    a, b = (held(list(side), dtype) for side, dtype in zip(zip(*words, strict=True), dtypes, strict=True))
    for coefficient in (0.0, 0.37, 1.0, 3.0):
        plain = reference(a, b, dtypes, np.float32(coefficient), KEY, 2**31, 7)
        assert equal(on_torch(a, b, dtypes, np.float32(coefficient), KEY, 2**31, 7), plain)


@pytest.mark.parametrize("dtypes", [("BF16", "BF16"), ("F16", "F16"), ("BF16", "F16"), ("F16", "BF16")])
@pytest.mark.parametrize("arithmetic", ["Float32", "Source"])
def test_torch_and_numpy_agree_over_all_patterns_of_16_bits(dtypes: tuple[str, str], arithmetic: Any) -> None:
    generator = np.random.default_rng(0)
    a, b = (held(generator.permutation(65536).tolist(), dtype) for dtype in dtypes)
    ratio, keep_below, start = np.float32(0.37), 3 * 2**30, 2**33
    if arithmetic == "Source":
        plain = source_reference(a, b, dtypes, ratio, kept(start, 65536, keep_below))
    else:
        plain = reference(a, b, dtypes, ratio, KEY, keep_below, start)
    assert equal(on_torch(a, b, dtypes, ratio, KEY, keep_below, start, arithmetic), plain)


def test_a_fused_operation_would_be_noticed() -> None:
    a, b = (tensor(normal(seed, 4000), "F32") for seed in (1, 2))
    one, other = to_torch(a.bits, "F32"), to_torch(b.bits, "F32")
    found = merged(one, other, np.float32(0.3), KEY, 2**32)
    assert not torch.equal(found, torch.lerp(one, other, 0.3))
    fused = (one.double() + (other - one).double() * float(np.float32(0.3))).float()
    assert not torch.equal(found, fused)


def test_the_default_block_changes_no_bit() -> None:
    count = CPU_BLOCK + 3
    a, b = (tensor(normal(seed, count)).bits for seed in (1, 2))
    plain = reference(a, b, ("BF16", "BF16"), np.float32(0.4), KEY, 2**31, 0)
    assert equal(on_torch(a, b, ("BF16", "BF16"), np.float32(0.4), KEY, 2**31), plain)


@pytest.mark.parametrize("arithmetic", ["Float32", "Source"])
def test_no_more_than_a_block_is_taken_at_a_time(arithmetic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def counted(bits: torch.Tensor, dtype: str) -> torch.Tensor:
        seen.append(len(bits))
        return widen(bits, dtype)

    widen = on_torch_module.widen
    monkeypatch.setattr(on_torch_module, "widen", counted)
    a = tensor(np.ones(2 * CPU_BLOCK + 5)).bits
    merged(to_torch(a, "BF16"), to_torch(a, "BF16"), np.float32(0.5), KEY, 2**31, 0, arithmetic)
    assert max(seen) == CPU_BLOCK
    assert min(seen) == 5


def test_an_empty_tensor_is_merged_to_an_empty_one() -> None:
    empty = tensor(np.empty(0)).bits
    assert len(on_torch(empty, empty, ("BF16", "BF16"), np.float32(0.4), KEY, 2**31)) == 0


def test_parents_are_left_as_they_were() -> None:
    a, b = to_torch(tensor([1.0, 2.0]).bits, "BF16"), to_torch(tensor([3.0, 5.0]).bits, "BF16")
    assert merged(a, b, np.float32(0.5), KEY, 2**32).tolist() == [2.0, 3.5]
    assert (a.tolist(), b.tolist()) == ([1.0, 2.0], [3.0, 5.0])


@pytest.mark.parametrize("dtype", FLOATS)
def test_bits_pass_through_torch_unchanged(dtype: str) -> None:
    bits = held(EDGES[dtype], dtype)
    bits.setflags(write=False)  # as a mapped file's are
    assert equal(to_bits(to_torch(bits, dtype)), bits)


def test_a_dtype_that_is_no_weight_is_an_error() -> None:
    integers = torch.ones(3, dtype=torch.int32)
    with pytest.raises(KeyError):
        merged(integers, integers, np.float32(0.5), KEY, 2**32)


# ---- the mask


@given(st.integers(0, 2**62), st.integers(0, 60), st.integers(0, M32), st.integers(0, M32))
def test_torch_draws_what_numpy_draws(start: int, count: int, k0: int, k1: int) -> None:
    found = draws(start, start + count, (k0, k1))
    assert found.dtype == torch.int64
    assert found.tolist() == mask.draws(start, start + count, (k0, k1)).tolist()


def test_the_first_draw_is_the_known_answer_of_philox() -> None:
    assert draws(0, 1, (0, 0)).tolist() == [0x6627E8D5]


@pytest.mark.parametrize("keys", [(0, 0), (M32, M32), (0xA4093822, 0x299F31D0)])
def test_no_product_overflows_at_the_edges_of_words(keys: tuple[int, int]) -> None:
    for start in (0, M32 - 3, 2**32 - 1, 2**63 - 9):
        assert draws(start, start + 8, keys).tolist() == mask.draws(start, start + 8, keys).tolist()


# ---- Source


@given(parents(), COEFFICIENTS, DENSITIES, st.integers(0, 2**40), st.integers(1, 50))
def test_source_in_torch_and_numpy_agree_on_every_bit(
    pair: tuple[Bits, Bits, tuple[str, str]], coefficient: float, density: float, start: int, block: int
) -> None:
    ratio, keep_below = np.float32(coefficient), mask.threshold(density)
    plain = source_reference(*pair, ratio, kept(start, len(pair[0]), keep_below))
    assert equal(on_torch(*pair, ratio, KEY, keep_below, start, "Source", block), plain)


def card(a: Bits, b: Bits, dtypes: tuple[str, str], ratio: float, kept: np.ndarray[Any, Any]) -> Bits:
    """The card's own lines, with our mask for its unseeded one, every NaN one NaN."""
    ta, tb = to_torch(a, dtypes[0]), to_torch(b, dtypes[1])
    mask = torch.from_numpy(kept)
    delta = (tb - ta) * mask
    merged = (ta + delta * ratio).bfloat16()
    return np.where(merged.isnan().numpy(), np.uint16(BF16_NAN), to_bits(merged))


@given(
    st.lists(st.tuples(patterns("BF16"), patterns("BF16")), min_size=1, max_size=80),
    st.floats(0, 1) | st.sampled_from([0.35, 0.5, 0.65, 1e-45]),
    DENSITIES,
)
def test_source_is_the_cards_expression_on_bf16_tensors(
    words: list[tuple[int, int]], ratio: float, density: float
) -> None:
    a, b = (held(list(side), "BF16") for side in zip(*words, strict=True))
    chosen = kept(0, len(a), mask.threshold(density))
    found = source_reference(a, b, ("BF16", "BF16"), np.float32(ratio), chosen)
    assert equal(found, card(a, b, ("BF16", "BF16"), ratio, chosen))


@pytest.mark.parametrize("dtypes", [("BF16", "BF16"), ("BF16", "F32"), ("BF16", "F16")])
def test_source_is_the_cards_expression_on_weights_of_any_dtype(dtypes: tuple[str, str]) -> None:
    a, b = (tensor(normal(seed, 50_000), dtype).bits for seed, dtype in enumerate(dtypes))
    chosen = kept(0, 50_000, mask.threshold(0.8))
    found = source_reference(a, b, dtypes, np.float32(0.5123), chosen)
    assert equal(found, card(a, b, dtypes, 0.5123, chosen))


def test_source_is_the_cards_expression_over_all_patterns_of_bf16() -> None:
    generator = np.random.default_rng(3)
    chosen = kept(0, 65536, 2**31)
    for ratio in (0.1, 0.37, 0.5, 0.93):
        a, b = (held(generator.permutation(65536).tolist(), "BF16") for _ in range(2))
        found = source_reference(a, b, ("BF16", "BF16"), np.float32(ratio), chosen)
        assert equal(found, card(a, b, ("BF16", "BF16"), ratio, chosen))


def test_source_keeps_fathers_dtype_where_the_card_makes_all_bf16() -> None:
    a, b = tensor(normal(1, 500), "F32").bits, tensor(normal(2, 500), "F32").bits
    chosen = np.ones(500, np.bool_)
    found = source_reference(a, b, ("F32", "F32"), np.float32(0.3), chosen)
    assert equal(found, reference(a, b, ("F32", "F32"), np.float32(0.3), KEY, 2**32, 0))


def test_source_rounds_each_step_and_so_differs_from_float32() -> None:
    a, b = (tensor(normal(seed, 5000)).bits for seed in (1, 2))
    chosen = np.ones(5000, np.bool_)
    found = source_reference(a, b, ("BF16", "BF16"), np.float32(0.3), chosen)
    share = (found != reference(a, b, ("BF16", "BF16"), np.float32(0.3), KEY, 2**32, 0)).mean()
    assert 0.02 < share < 0.6


def test_in_source_the_mask_is_a_factor_so_dropped_elements_may_change() -> None:
    a, b = held([0x8000, 0x3F80, 0x3F80], "BF16"), held([0x3F80, 0x7F80, 0x3F80], "BF16")
    dropped = np.zeros(3, np.bool_)
    found = source_reference(a, b, ("BF16", "BF16"), np.float32(0.5), dropped)
    assert found.tolist() == [0, BF16_NAN, 0x3F80]  # -0.0 became 0.0; 0 x inf is NaN
    assert reference(a, b, ("BF16", "BF16"), np.float32(0.5), KEY, 0, 0).tolist() == a.tolist()


@pytest.mark.parametrize(
    ("dtypes", "step"),
    [(("BF16", "BF16"), "BF16"), (("F16", "F16"), "F16"), (("F16", "BF16"), "F32"), (("F64", "F64"), "F32")],
)
def test_steps_are_rounded_to_the_dtype_that_torch_promotes_to(dtypes: tuple[str, str], step: str) -> None:
    assert step_dtype(*dtypes) == step

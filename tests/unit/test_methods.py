"""Each method's child is its formula in float64, fed our masks; bits don't depend on cuts, threads or the engine."""

import math
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, narrow, widen
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge import mask, methods
from darwinmerge.merge.combine import combine
from darwinmerge.merge.combine_torch import combined as combined_in_torch
from darwinmerge.merge.methods import METHODS, MethodName, Parameters, density_genes
from darwinmerge.merge.methods.method import MAGNITUDE, Block, Drawn, Keep, Largest, Terms
from darwinmerge.merge.methods.slerp import coefficients
from darwinmerge.merge.methods.whole import BLOCK, Whole
from darwinmerge.merge.on_torch import TORCH, to_bits, to_torch
from tests.build import Tensor, elements, normal, tensor

W, SEED = "model.layers.0.mlp.up_proj.weight", 7
Values = NDArray[np.float64]
STEP = {"BF16": 2.0**-8, "F16": 2.0**-11, "F32": 2.0**-24}  # half a step, of the dtype that a child is rounded to
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
METHOD_NAMES = list(METHODS)


class Given(NamedTuple):
    """A tensor of both parents and of the base, and what is said of it."""

    a: Tensor
    b: Tensor
    base: Tensor
    method: str
    ratio: float
    densities: tuple[float, float]
    parameters: dict[str, Any]

    def sources(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.a, self.b, None if METHODS[self.method].base == "Unused" else self.base

    def terms(self) -> Terms:
        kind = METHODS[self.method].parameters
        return Terms(W, SEED, self.ratio, *self.densities, kind.model_validate(self.parameters))

    def whole(self, block: int = 1 << 20, threads: int | None = 1) -> Whole:
        a, b, base = (None if one is None else elements(one, block) for one in self.sources())
        assert a is not None and b is not None
        return Whole(a, b, base, threads)


def merged(given: Given, out: str, strip: int = 1 << 16, block: int = 1 << 20, threads: int = 1) -> Bits:
    """The whole tensor of the child, by the compiled formula, read in blocks of so many bytes."""
    method, whole = METHODS[given.method], given.whole(block, threads)
    plan = method.plan(given.terms(), whole)
    dtypes = (given.a.dtype, given.b.dtype, given.base.dtype)
    child, step = np.empty(whole.size, DTYPES[out].bits), max(block // 8, 1)
    for start in range(0, whole.size, step):
        cut = slice(start, start + step)
        base = None if whole.base is None else whole.base[cut]
        sources = whole.a[cut], whole.b[cut], base
        combine(sources, dtypes, method, plan, start, (child[cut], out), chunk=strip)
    return child


def kept_by(keep: Keep, values: NDArray[np.float32], base: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """A mask by its definition, in numpy."""
    if keep is None:
        return None
    if isinstance(keep, Drawn):
        return mask.kept(0, len(values), keep.key, keep.below)
    size, last = (values - base).view(np.uint32) & np.uint32(MAGNITUDE), np.arange(len(values)) <= keep.last
    kept: NDArray[np.bool_] = (size > keep.magnitude) | ((size == keep.magnitude) & last)
    return kept


def merged_in_numpy(given: Given, out: str) -> Bits:
    """The formula as it stands, over whole arrays."""
    method, a, b, base = METHODS[given.method], *(widen(one.bits, one.dtype) for one in (given.a, given.b, given.base))
    plan = method.plan(given.terms(), given.whole())
    with np.errstate(all="ignore"):
        block = Block(a, b, base, kept_by(plan.keep_a, a, base), kept_by(plan.keep_b, b, base))
        return narrow(method.combine(np, block, plan.numbers), out)


def merged_in_torch(given: Given, out: str, device: str, block: int) -> Bits:
    method = METHODS[given.method]
    a, b, base = (None if one is None else to_torch(one.bits, one.dtype, device) for one in given.sources())
    assert a is not None and b is not None
    plan = method.plan(given.terms(), given.whole())
    return to_bits(combined_in_torch((a, b, base), method, plan, 0, block, TORCH[out]))


# ---- the formulas again, from the method's description alone, in float64


def wide(of: Tensor) -> Values:
    return widen(of.bits, of.dtype).astype(np.float64)


def drawn(given: Given, stream: str, density: float, name: str) -> NDArray[np.bool_]:
    """Our mask, from its definition: a 32-bit draw below floor(density x 2^32)."""
    draws = mask.draws(0, len(given.a.bits), mask.key_of(SEED, stream, name)).astype(np.uint64)
    return np.asarray(draws < math.floor(density * 2**32))


def rescaled(delta: Values, kept: NDArray[np.bool_], density: float, how: str) -> Values:
    thinned = np.where(kept, delta, 0.0)
    if how == "Inverse" and density < 1:
        return thinned / density
    left = np.abs(thinned).sum()
    return thinned * (np.abs(delta).sum() / left) if how == "L1" and left > 0 else thinned


def trimmed(delta: Values, density: float) -> Values:
    """The largest magnitudes, the first of equal ones, in a plain sort."""
    count = math.floor(density * len(delta) + 0.5)
    order = sorted(range(len(delta)), key=lambda i: (-abs(np.float32(delta[i])), i))
    kept = np.zeros(len(delta), bool)
    kept[order[:count]] = True
    return np.where(kept, delta, 0.0)


def elections(base: Values, deltas: list[Values], given: Given) -> Iterator[Values]:
    """C = base + lambda (sum over {sign(d') = s} of w d') / (sum of those w), s = sign(sum of w d'); where the sum is
    within rounding of 0, for either sign too."""
    weights = np.array([1 - given.ratio, given.ratio])[:, None]
    d = np.stack(deltas)
    total = (weights * d).sum(0)
    near = np.abs(total) <= 2.0**-22 * np.abs(weights * d).sum(0)
    for s in (np.sign(total), np.where(near, 1.0, np.sign(total)), np.where(near, -1.0, np.sign(total))):
        agree = (np.sign(d) == s) & (s != 0)
        moved = np.where(agree, weights * d, 0.0).sum(0)
        weight = np.where(agree, weights, 0.0).sum(0)
        if given.parameters.get("normalize", True):
            moved = np.divide(moved, weight, out=np.zeros_like(moved), where=weight > 0)
        yield base + given.parameters.get("lambda", 1.0) * moved


def by_dare_ties(given: Given, name: str) -> list[Values]:
    base, how = wide(given.base), given.parameters.get("rescale", "None")
    deltas = [
        rescaled(wide(parent) - base, drawn(given, stream, density, name), density, how)
        for parent, stream, density in zip((given.a, given.b), "ab", given.densities, strict=True)
    ]
    return list(elections(base, deltas, given))


def by_ties(given: Given, name: str) -> list[Values]:
    base = wide(given.base)
    parents = zip((given.a, given.b), given.densities, strict=True)
    return list(elections(base, [trimmed(wide(parent) - base, density) for parent, density in parents], given))


def by_task_arithmetic(given: Given, name: str) -> list[Values]:
    base, r = wide(given.base), given.ratio
    moved = (1 - r) * (wide(given.a) - base) + r * (wide(given.b) - base)
    return [base + given.parameters.get("lambda", 1.0) * moved]


def by_slerp(given: Given, name: str) -> list[Values]:
    a, b, t = wide(given.a), wide(given.b), given.ratio
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    theta = np.arccos(np.clip(a @ b / norms, -1, 1)) if norms else 0.0
    if theta < 1e-6 or theta > np.pi - 1e-6:
        return [(1 - t) * a + t * b]
    return [(np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)]


def by_linear(given: Given, name: str) -> list[Values]:
    return [(1 - given.ratio) * wide(given.a) + given.ratio * wide(given.b)]


REFERENCES: dict[str, Callable[[Given, str], list[Values]]] = {
    "DareTies": by_dare_ties,
    "Ties": by_ties,
    "TaskArithmetic": by_task_arithmetic,
    "Slerp": by_slerp,
    "Linear": by_linear,
}


def test_every_file_that_has_a_method_is_listed() -> None:
    files = [import_module(f"{methods.__name__}.{found.name}") for found in iter_modules(methods.__path__)]
    assert {file.METHOD.name for file in files if hasattr(file, "METHOD")} == set(METHODS)


def test_every_method_has_a_reference_and_a_name_in_the_manifest() -> None:
    assert set(REFERENCES) == set(METHODS) == set(get_args(MethodName))


def test_the_manifest_has_every_parameter_of_every_method_with_its_default() -> None:
    told = {field: info for method in METHODS.values() for field, info in method.parameters.model_fields.items()}
    assert set(Parameters.model_fields) == set(told)
    assert all(getattr(Merge(), field) == info.default for field, info in told.items())


# ---- against the reference

SHARES = st.floats(0, 1, width=16) | st.sampled_from([0.0, 0.5, 1.0])


@st.composite
def tensors(draw: st.DrawFn, dtypes: st.SearchStrategy[str], scales: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Fine-tunes of a base and the base: some elements equal, some zero, some far off; or three strangers."""
    size, seed = draw(st.integers(1, 700)), draw(st.integers(0, 999))
    scale, near = draw(st.sampled_from(scales)), draw(st.sampled_from([0.0, 0.01, 0.3]))
    base = normal(seed, size, scale=scale)
    made = [base]
    for i in (1, 2):
        step = normal(seed + 1000 * i, size, scale=scale * (near or 1))
        step[normal(seed + 5000 * i, size) < -0.01] = 0.0
        moved = base + step if near else step
        moved[normal(seed + 9000 * i, size) > 0.04] = 0.0
        made.append(moved)
    with np.errstate(over="ignore"):  # F16 of the greatest: infinities, of which engines make the same
        base_of, a, b = (tensor(values, draw(dtypes)) for values in made)
    return a, b, base_of


@st.composite
def cases(draw: st.DrawFn, method: str, scales: tuple[float, ...] = (0.02, 1.0, 30.0)) -> Given:
    a, b, base = draw(tensors(st.sampled_from(["BF16", "BF16", "F16", "F32"]), list(scales)))
    said: dict[str, Any] = {}
    fields = METHODS[method].parameters.model_fields
    if "lambda_" in fields:
        said["lambda"] = draw(st.sampled_from([1.0, 0.3, 2.0]))
    if "normalize" in fields:
        said["normalize"] = draw(st.booleans())
    if "rescale" in fields:
        said["rescale"] = draw(st.sampled_from(["None", "Inverse", "L1"]))
    densities = st.floats(0.0625, 1, width=16) | st.just(1.0)
    return Given(a, b, base, method, draw(SHARES), (draw(densities), draw(densities)), said)


def distance(given: Given, out: str) -> float:
    """The child's greatest distance from the reference, in what rounding allows: at most 1, if it is right."""
    found = widen(merged(given, out), out).astype(np.float64)
    scale = np.abs(np.stack([wide(one) for one in (given.a, given.b, given.base)])).max(0) + 1e-30
    how, thin = given.parameters.get("rescale", "None"), min(given.densities)
    grown = max(1.0, given.parameters.get("lambda", 1.0)) * (1.0 if how == "None" else 4 / thin)
    wholes = REFERENCES[given.method](given, W)
    if how == "L1" and given.method == "DareTies":  # a scale may be anything: kept elements may be tiny
        grown *= max(1.0, *(np.abs(exact / scale).max() for exact in wholes))
    off = [
        np.abs(found - exact) / (np.abs(exact) * STEP[out] + scale * grown * 2.0**-20 + (6e-8 if out == "F16" else 0))
        for exact in wholes
    ]
    return float(np.minimum.reduce(off).max())


@pytest.mark.parametrize("out", ["BF16", "F32", "F16"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_child_is_the_formula_in_float64_to_one_rounding(method: str, out: str) -> None:
    @settings(max_examples=40)
    @given(cases(method))
    def check(found: Given) -> None:
        assert distance(found, out) <= 1

    check()


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_reference_would_notice_another_ratio(method: str) -> None:
    a, b, base = (tensor(normal(i, 4000)) for i in range(3))
    right = Given(a, b, base, method, 0.4, (0.7, 0.6), {})
    assert distance(right, "F32") <= 1
    found = merged(right._replace(ratio=0.41), "F32").astype(np.float64)
    exact = REFERENCES[method](right, W)[0]
    assert np.abs(found - exact).max() > 1e-4


# ---- the same bits however it is done


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_blocks_strips_and_threads_change_no_bit(method: str) -> None:
    size = 3 * BLOCK + 77
    a, b, base = (tensor(normal(i, size)) for i in range(3))
    said = {"rescale": "L1"} if method == "DareTies" else {}
    one = Given(a, b, base, method, 0.37, (0.6, 0.8), said)
    whole = merged(one, "BF16")
    for strip, block, threads in ((1000, 1 << 20, 1), (1 << 16, 1 << 12, 3), (333, 1 << 17, 2), (1 << 16, 1 << 18, 4)):
        assert merged(one, "BF16", strip, block, threads).tobytes() == whole.tobytes()


@pytest.mark.parametrize("out", ["BF16", "F32"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_kernel_numpy_and_torch_agree_on_every_bit(method: str, out: str) -> None:
    @given(cases(method, scales=(0.02, 1.0, 1e30, 1e-38)), st.integers(40, 800))
    def check(found: Given, block: int) -> None:
        plain = merged(found, out)
        assert merged_in_numpy(found, out).tobytes() == plain.tobytes()
        for device in DEVICES:
            other = merged_in_torch(found, out, device, block)
            assert (other.dtype, other.tobytes()) == (plain.dtype, plain.tobytes())

    check()


def test_linear_is_the_published_arithmetic_at_density_1() -> None:
    from darwinmerge.merge.arithmetic import reference

    a, b = tensor(normal(1, 5000)), tensor(normal(2, 5000))
    plain = reference(a.bits, b.bits, ("BF16", "BF16"), np.float32(0.3), (0, 0), 2**32, 0)
    assert np.array_equal(merged(Given(a, b, a, "Linear", 0.3, (1.0, 1.0), {}), "BF16"), plain)


# ---- properties


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_at_either_end_the_child_is_a_parent(method: str, ratio: float) -> None:
    a, b, base = (tensor(normal(i, 3000), "F32") for i in range(3))
    found = merged(Given(a, b, base, method, ratio, (1.0, 1.0), {}), "F32")
    parent = (a, b)[round(ratio)]
    assert (
        np.abs(widen(found, "F32") - widen(parent.bits, "F32")).max() < 1e-8
    )  # 0.02 x 2^-22: the way goes over the base


def test_without_normalize_a_vector_that_speaks_alone_counts_with_its_weight() -> None:
    base, a, b = tensor([0.0, 0.0]), tensor([1.0, 1.0]), tensor([-0.25, 1.0])
    ends = [
        merged(Given(a, b, base, "Ties", 0.25, (1.0, 1.0), {"normalize": normalize}), "F32").tolist()
        for normalize in (True, False)
    ]
    assert ends == [[1.0, 1.0], [0.75, 1.0]]


def test_the_sign_that_weighs_more_is_elected_and_the_other_has_no_say() -> None:
    base, a, b = tensor([0.0] * 4), tensor([1.0, 1.0, 0.0, 1.0]), tensor([-2.0, -4.0, -3.0, -3.0])
    found = merged(Given(a, b, base, "Ties", 0.25, (1.0, 1.0), {}), "F32")
    assert found.tolist() == [1.0, -4.0, -3.0, 0.0]  # .75 - .5, .75 - 1, only b, and a draw


def test_lambda_scales_the_way_from_the_base() -> None:
    base, a, b = tensor([2.0]), tensor([3.0]), tensor([5.0])
    for method in ("DareTies", "Ties", "TaskArithmetic"):
        found = merged(Given(a, b, base, method, 0.5, (1.0, 1.0), {"lambda": 0.5}), "F32")
        assert found.tolist() == [3.0]


def test_masks_of_both_parents_are_drawn_apart() -> None:
    base, a, b = tensor(np.zeros(1000)), tensor(np.ones(1000)), tensor(np.full(1000, 2.0))
    found = merged(Given(a, b, base, "DareTies", 0.5, (0.5, 0.5), {}), "F32")
    of_a, of_b = (mask.kept(0, 1000, mask.key_of(SEED, stream, W), 2**31) for stream in "ab")
    expected = np.select([of_a & of_b, of_a, of_b], [1.5, 1.0, 2.0], 0.0)
    assert found.tolist() == expected.tolist()


def test_l1_keeps_the_sum_of_magnitudes_of_each_task_vector() -> None:
    base, a = tensor(np.zeros(2000)), tensor(normal(1, 2000), "F32")
    found = merged(Given(a, base, base, "DareTies", 0.0, (0.3, 1.0), {"rescale": "L1"}), "F32")
    assert np.count_nonzero(found) < 700
    assert np.abs(found).sum() == pytest.approx(np.abs(a.bits).sum(), rel=1e-6)


# ---- the trim


@st.composite
def ranked(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Magnitudes of which many are equal, and how many to keep."""
    values = draw(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 2.0, -3.5, 1e-40, 1e30]), min_size=1))
    return tensor(values, "F32"), draw(st.integers(0, len(values) + 1))


@given(ranked())
def test_a_trim_keeps_the_largest_and_of_equal_ones_the_first(found: tuple[Tensor, int]) -> None:
    of, count = found
    zero = tensor(np.zeros(len(of.bits)), "F32")
    keep = Whole(elements(of), elements(zero), elements(zero)).largest("a", count)
    magnitudes = np.abs(of.bits)
    order = sorted(range(len(magnitudes)), key=lambda i: (-magnitudes[i], i))
    if count >= len(magnitudes):
        assert keep is None
        return
    assert isinstance(keep, Largest)
    bits = magnitudes.view(np.uint32)
    kept = [i for i in range(len(bits)) if bits[i] > keep.magnitude or (bits[i] == keep.magnitude and i <= keep.last)]
    assert kept == sorted(order[:count])


def test_a_trim_of_many_blocks_is_the_one_of_a_sort() -> None:
    size = 4 * BLOCK + 3
    values = tensor(np.round(normal(3, size), 3), "F32")  # thousands are equal
    zero = tensor(np.zeros(size), "F32")
    for count in (1, size // 3, size - 1):
        keep = Whole(elements(values, 1 << 18), elements(zero, 1 << 18), elements(zero), 3).largest("a", count)
        assert keep
        magnitudes = np.abs(values.bits)
        last = np.argsort(-magnitudes, kind="stable")[count - 1]
        assert keep == Largest(int(magnitudes[last : last + 1].view(np.uint32)[0]), int(last))


# ---- slerp's angle


@pytest.mark.parametrize(("aa", "ab", "bb"), [(0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (4.0, 8.0, 16.0)])
def test_slerp_is_linear_where_there_is_no_arc(aa: float, ab: float, bb: float) -> None:
    assert coefficients(0.3, aa, ab, bb) == (0.7, 0.3)


def test_slerp_of_orthogonal_parents_keeps_their_norm() -> None:
    c_a, c_b = coefficients(0.5, 1.0, 0.0, 1.0)
    assert c_a == c_b == pytest.approx(math.sqrt(0.5), rel=1e-11)


def test_slerps_coefficients_are_rounded_so_that_no_cpu_shows() -> None:
    for c in coefficients(0.37, 2.0, 0.7, 3.0):
        assert c == float(f"{c:.11e}")


# ---- genes


@pytest.mark.parametrize(
    ("method", "base", "genes"),
    [
        ("DareTies", False, ("density_b",)),
        ("DareTies", True, ("density_a", "density_b")),
        ("Ties", True, ("density_a", "density_b")),
        ("TaskArithmetic", True, ()),
        ("Slerp", False, ()),
        ("Linear", False, ()),
    ],
)
def test_density_genes_have_an_effect_where_a_method_listens(method: str, base: bool, genes: tuple[str, ...]) -> None:
    assert density_genes(method, base) == genes

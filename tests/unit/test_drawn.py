"""Draws that are kept give the mask that drawing anew gives, whatever the density, and never another's."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.checkpoint.dtypes import Bits
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge import mask
from darwinmerge.merge.arithmetic import merged_tensors
from darwinmerge.merge.drawn import NONE, Draws
from darwinmerge.merge.kernel import merge_bf16
from darwinmerge.merge.recipe import Mixing, Pins, Recipe, child_recipe
from darwinmerge.search.genome import Genome
from tests.build import normal, row, tensor, write_model

SIZE = 10_000  # more than one strip of the kernel


def merged(density: int, start: int, high: np.ndarray = NONE, known: bool = False) -> Bits:
    """Elements of a tensor whose mask keeps draws below `density`."""
    a, b = (np.full(SIZE, bits, np.uint16) for bits in (0x3F80, 0x4000))
    child = np.empty(SIZE, np.uint16)
    merge_bf16(a, b, child, np.float32(1), 7, 11, density, start, high, known)
    return child


DENSITIES = st.integers(0, 2**32 - 1) | st.integers(0, 255).map(lambda high: high << 24)


@given(DENSITIES, DENSITIES, st.integers(0, 2**40))
def test_what_is_known_gives_the_same_mask_as_what_is_drawn(first: int, then: int, start: int) -> None:
    high = np.empty(SIZE, np.uint8)
    assert merged(first, start, high).tobytes() == merged(first, start).tobytes()
    assert high.tolist() == (mask.draws(start, start + SIZE, (7, 11)) >> 24).tolist()
    assert merged(then, start, high, True).tobytes() == merged(then, start).tobytes()


def test_memory_is_bounded_and_another_seed_knows_nothing() -> None:
    draws = Draws(limit=100)
    high, known = draws.of("a", "b", (1, 2), 60)
    assert (len(high), known) == (60, False)
    draws.are_known("a")
    assert draws.of("a", "b", (1, 2), 60)[1]
    assert (len(draws.of("b", "b", (3, 4), 60)[0]), draws.of("b", "b", (3, 4), 60)[1]) == (0, False), "there is no room"
    assert (len(draws.of("a", "b", (5, 6), 60)[0]), draws.of("a", "b", (5, 6), 60)[1]) == (60, False)


def test_what_was_given_up_half_way_is_not_known_even_if_the_tensor_is_then_merged_without_it() -> None:
    draws = Draws()
    draws.of("a", "b", (1, 2), 60)
    assert not draws.of("a", "b", (1, 2), 60)[1]
    draws.begin("a")
    draws.are_known("a")
    assert not draws.of("a", "b", (1, 2), 60)[1]


@pytest.mark.parametrize(
    ("based", "of_base", "merge"),
    [(False, "", Merge()), (True, "BF16", Merge()), (True, "F32", Merge()), (True, "BF16", Merge(rescale="L1"))],
)
@pytest.mark.parametrize("limit", [0, 5_000, 1 << 20])
def test_one_child_after_the_other_is_what_each_is_alone(
    tmp_path: Path, limit: int, based: bool, of_base: str, merge: Merge
) -> None:
    names = ["model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"]
    family = [
        write_model(tmp_path / who, {name: tensor(normal(seed + n, 70, 60), dtype) for n, name in enumerate(names)})
        for who, seed, dtype in (("father", 1, "BF16"), ("mother", 5, "BF16"), ("base", 9, of_base))[: 2 + based]
    ]
    mixing = Mixing(mri_weight=0.3, merge=merge, base=based)
    pins = Pins(father="f", mother="m", base="b" if based else "")

    def recipe(density_a: float, density_b: float, seed: int) -> Recipe:
        genome = Genome.of([0.5, 0.4, 0.6, 0.5, density_a, density_b])
        return child_recipe([row(name) for name in names], genome, pins, mixing, seed)

    draws = Draws(limit)
    for a, b, seed in ((1, 0.5, 1), (0.7, 0.8, 1), (0.2, 1, 1), (0.6, 0.3, 1), (0.6, 0.3, 2), (0.9, 0.7, 2)):
        wanted = recipe(a, b, seed)
        alone = [bits.tobytes() for bits, _ in merged_tensors(wanted.decisions, wanted, *family)]
        again = [bits.tobytes() for bits, _ in merged_tensors(wanted.decisions, wanted, *family, draws=draws)]
        assert again == alone

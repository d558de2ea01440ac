"""Shards hold every tensor once, in order, as many a file as fit."""

import tempfile
from functools import cache
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Pins, linear_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.publish.shards import file_name, split
from tests.build import Tensor, normal, tensor, write_model

PINS = Pins(father="f", mother="m")


def made(path: Path, sizes: list[int], seed: int) -> ModelFolder:
    held: dict[str, Tensor] = {f"w{i:02d}": tensor(normal(seed + i, size)) for i, size in enumerate(sizes)}
    return write_model(path, held)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 120))
def test_every_tensor_is_in_one_shard_in_order_and_no_shard_is_needlessly_large(sizes: list[int], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        father, mother = made(Path(folder) / "f", sizes, 0), made(Path(folder) / "m", sizes, 100)
        recipe = linear_recipe(list(diagnose(father, mother, Mri())), 0.5, PINS, Merge())
        shards = split(recipe, father, mother, limit)
        assert [decision for shard in shards for decision in shard] == list(recipe.decisions)
        held = [[father.info(decision.name).nbytes for decision in shard] for shard in shards]
        assert all(held)
        assert all(sum(of_shard) <= limit or len(of_shard) == 1 for of_shard in held)
        for one, following in pairwise(held):
            assert sum(one) + following[0] > limit, "the next tensor would have fitted"


@cache
def _names(of: int) -> list[str]:
    return [file_name(number, of) for number in range(1, of + 1)]


@given(st.integers(1, 300))
def test_the_names_of_shards_sort_as_they_count(of: int) -> None:
    assert sorted(_names(of)) == _names(of)
    assert len(set(_names(of))) == of

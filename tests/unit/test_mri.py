"""The MRI table has one row for every tensor of either parent, a prescription, and notices when it is changed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput
from darwinmerge.experiment.manifest import Mri
from darwinmerge.mri.figures import Figures
from darwinmerge.mri.table import (
    TensorRow,
    diagnose,
    from_parquet,
    names_of,
    prescription,
    require_finite,
    spread,
    table_digest,
    to_parquet,
)
from tests.build import Tensor, normal, row, tensor, write_model

UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"
COUNTER = "model.layers.0.counter"


def parents(path: Path, father: Mapping[str, Tensor], mother: Mapping[str, Tensor]) -> tuple[ModelFolder, ModelFolder]:
    return write_model(path / "father", father), write_model(path / "mother", mother)


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, TensorRow]:
    """The diagnosis of two parents that differ in every way in which parents can."""
    shared = {DOWN: tensor(normal(1, 6, 4)), COUNTER: tensor([1, 2], "I64")}
    father = {**shared, UP: tensor(normal(2, 4, 6)), "mtp.fc.weight": tensor(normal(3, 4))}
    mother = {**shared, UP: tensor(normal(4, 4, 6, scale=0.05)), "model.norm.weight": tensor(normal(5, 4), "F32")}
    return {found.name: found for found in diagnose(*parents(tmp_path, father, mother), Mri())}


def test_every_tensor_of_either_parent_has_one_row_and_a_presence(rows: dict[str, TensorRow]) -> None:
    assert {name: found.presence for name, found in rows.items()} == {
        UP: "both",
        DOWN: "identical",
        COUNTER: "not-a-weight",
        "mtp.fc.weight": "only-in-father",
        "model.norm.weight": "only-in-mother",
    }


def test_a_row_knows_its_tensors_shape_dtype_kind_and_layer(rows: dict[str, TensorRow]) -> None:
    found = rows[UP]
    assert (found.shape, found.size, found.dtype, found.nbytes) == ((4, 6), 24, "BF16", 48)
    assert (found.kind, found.layer) == ("ffn", "0")
    assert rows["model.norm.weight"].dtype == "F32"


def test_the_figures_in_a_row_are_those_of_each_parent(rows: dict[str, TensorRow]) -> None:
    of_mother = np.abs(normal(4, 4, 6, scale=0.05))
    assert rows[UP].mother.norm == pytest.approx(np.sqrt((of_mother**2).sum()), rel=0.01)
    assert rows[UP].father.std < rows[UP].mother.std
    assert rows[DOWN].father == rows[DOWN].mother
    assert rows["mtp.fc.weight"].mother == Figures()
    assert rows["model.norm.weight"].father == Figures()
    assert rows[COUNTER].father == rows[COUNTER].mother == Figures()


def test_rows_come_in_the_order_of_names(tmp_path: Path) -> None:
    folder = write_model(tmp_path, {name: tensor([1.0, 2.0]) for name in ("b", "a", "c")})
    assert names_of(folder, folder) == ["a", "b", "c"]


def test_tensors_of_equal_values_and_two_dtypes_are_not_identical(tmp_path: Path) -> None:
    values = np.array([0.5, 1.0, 2.0])
    (found,) = diagnose(*parents(tmp_path, {UP: tensor(values)}, {UP: tensor(values, "F32")}), Mri())
    assert (found.presence, found.dtype, found.ratio_b) == ("both", "BF16", 0.5)


def test_tensors_of_equal_bits_and_two_dtypes_are_not_identical(tmp_path: Path) -> None:
    weights = tensor(normal(1, 9))
    (found,) = diagnose(*parents(tmp_path, {UP: weights}, {UP: weights._replace(dtype="F16")}), Mri())
    assert found.presence == "both"


def test_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    folders = parents(tmp_path, {UP: tensor(normal(1, 4, 6))}, {UP: tensor(normal(1, 6, 4))})
    with pytest.raises(BadInput, match=rf"tensor {UP}: father has shape \(4, 6\), mother \(6, 4\)"):
        list(diagnose(*folders, Mri()))


def test_the_prescription_is_mothers_share_of_the_two_published_scores() -> None:
    father, mother = Figures(norm=50.0, entropy=6.0, std=0.02), Figures(norm=300.0, entropy=7.0, std=0.04)
    a = 6.0 * 0.5 + 0.02 * 0.3 + 50 * 0.002
    b = 7.0 * 0.5 + 0.04 * 0.3 + 100 * 0.002
    ratio, flag = prescription(father, mother, Mri())
    assert ratio == pytest.approx(b / (a + b), rel=1e-11)
    assert flag == ""


GOOD = Figures(norm=1.0, entropy=6.0, std=0.02)
FLAWED = {"zero": Figures(), "constant": Figures(norm=9.0), "not finite": GOOD.model_copy(update={"non_finite": 1})}


@pytest.mark.parametrize("flawed", FLAWED.values(), ids=FLAWED)
@pytest.mark.parametrize("who", ["father", "mother", "both"])
def test_a_degenerate_tensor_in_either_parent_is_neutral_and_flagged(flawed: Figures, who: str) -> None:
    father, mother = (flawed if who in (name, "both") else GOOD for name in ("father", "mother"))
    assert prescription(father, mother, Mri()) == (0.5, "degenerate")


def test_the_published_letter_lets_the_formula_stand_and_keeps_the_flag() -> None:
    letter = Mri(degenerate="Published")
    assert prescription(Figures(), GOOD, letter) == (1.0, "degenerate")
    assert prescription(Figures(), Figures(), letter) == (0.5, "degenerate")


def test_the_spread_is_weighted_by_size() -> None:
    rows = [row("a", 0.2, size=300), row("b", 0.6, size=100)]
    assert spread(rows) == pytest.approx(np.sqrt(0.75 * 0.1**2 + 0.25 * 0.3**2))


def test_only_tensors_that_differ_count_for_the_spread() -> None:
    same = [row("c", 0.9, presence="identical"), row("d", 0.1, presence="only-in-mother")]
    assert spread([row("a", 0.4), row("b", 0.6), *same]) == pytest.approx(0.1)
    assert spread(same) == spread([]) == 0.0


def test_a_table_survives_parquet(rows: dict[str, TensorRow]) -> None:
    table = tuple(rows.values())
    assert from_parquet(to_parquet(table), table_digest(table)) == table


def test_a_table_that_was_changed_is_refused(rows: dict[str, TensorRow]) -> None:
    table = list(rows.values())
    changed = [table[0].model_copy(update={"ratio_b": 0.51}), *table[1:]]
    for other in (changed, table[1:], table[::-1]):
        with pytest.raises(BadInput, match="it was changed"):
            from_parquet(to_parquet(other), table_digest(table))


def test_a_file_that_is_no_table_is_refused(rows: dict[str, TensorRow]) -> None:
    whole = to_parquet(tuple(rows.values()))
    for data in (b"", b"PAR1", whole[: len(whole) // 2], to_parquet([Figures()])):
        with pytest.raises(BadInput):
            from_parquet(data, table_digest(tuple(rows.values())))


def test_the_same_parents_give_the_same_table(tmp_path: Path) -> None:
    folders = parents(tmp_path, {UP: tensor(normal(1, 40, 6))}, {UP: tensor(normal(2, 40, 6))})
    assert table_digest(tuple(diagnose(*folders, Mri()))) == table_digest(tuple(diagnose(*folders, Mri())))


def test_swapping_the_parents_mirrors_the_prescription(tmp_path: Path) -> None:
    father, mother = parents(tmp_path, {UP: tensor(normal(1, 40, 6))}, {UP: tensor(normal(2, 40, 6, scale=1.0))})
    (one,), (other,) = diagnose(father, mother, Mri()), diagnose(mother, father, Mri())
    assert one.ratio_b > 0.5
    assert one.ratio_b + other.ratio_b == pytest.approx(1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("who", ["father", "mother"])
def test_a_parent_with_nan_or_infinities_is_refused_by_tensor_and_count(tmp_path: Path, value: float, who: str) -> None:
    broken = normal(1, 6)
    broken[2:4] = value
    held = {UP: tensor(normal(2, 6)), DOWN: tensor(normal(3, 6))}
    pair = [{**held, UP: tensor(broken)} if who == name else held for name in ("father", "mother")]
    rows = list(diagnose(*parents(tmp_path, *pair), Mri()))
    with pytest.raises(BadInput, match=f"tensor {UP}: 2 of {who}'s elements are NaN or infinite; .*broken: download"):
        require_finite(rows)


def test_further_broken_tensors_are_counted_and_whole_ones_pass() -> None:
    broken = GOOD.model_copy(update={"non_finite": 1})
    rows = [row("a", father=GOOD, mother=GOOD), row("b", father=broken, mother=broken), row("c", mother=broken)]
    with pytest.raises(BadInput, match="tensor b: 1 of father's elements is NaN or infinite, and 1 more tensors"):
        require_finite(rows)
    require_finite(rows[:1])

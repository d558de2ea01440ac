"""A recipe accounts for every tensor, and equal recipes are one, whatever genes they come from."""

import pytest

from darwinmerge.errors import BadInput
from darwinmerge.experiment.merging import Merge, Transplant
from darwinmerge.merge.recipe import Mixing, Pins, Recipe, child_recipe, linear_recipe
from darwinmerge.mri.table import TensorRow
from darwinmerge.search.genome import Genome
from tests.build import row

PINS = Pins(father="f" * 64, mother="m" * 64)
GENES = {"ratio": 0.2, "attn": 0.4, "ffn": 0.6, "embed": 0.8, "density_a": 1.0, "density_b": 0.5}

ATTN, FFN = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"
NORM, EMBED = "model.norm.weight", "model.embed_tokens.weight"


def recipe(
    rows: list[TensorRow], seed: int = 5, weight: float = 0.7, merge: Merge | None = None, **genes: float
) -> Recipe:
    genome = Genome(**{**GENES, **genes})
    return child_recipe(rows, genome, PINS, Mixing(mri_weight=weight, merge=merge or Merge()), seed)


def ratios(of: Recipe) -> dict[str, float]:
    return {decision.name: decision.ratio for decision in of.decisions}


def accounts(of: Recipe) -> dict[str, str]:
    return {decision.name: decision.account for decision in of.decisions}


def test_the_final_ratio_is_seven_tenths_prescription_and_three_tenths_gene_of_the_tensors_kind() -> None:
    found = ratios(recipe([row(ATTN, 0.5), row(FFN, 0.4), row(NORM, 0.6), row(EMBED, 0.7)]))
    assert found == pytest.approx(
        {
            ATTN: 0.5 * 0.7 + 0.4 * 0.3,
            FFN: 0.4 * 0.7 + 0.6 * 0.3,
            NORM: 0.6 * 0.7 + 0.2 * 0.3,
            EMBED: 0.7 * 0.7 + 0.8 * 0.3,
        }
    )


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.6), (1.0, 0.4)])
def test_an_mri_weight_of_zero_leaves_the_gene_alone_and_one_the_prescription(weight: float, expected: float) -> None:
    assert ratios(recipe([row(FFN, 0.4)], weight=weight)) == {FFN: expected}


@pytest.mark.parametrize(
    ("ratio_b", "account"),
    [
        (0.049, "transplanted-father"),
        (0.05, "merged"),
        (0.95, "merged"),
        (0.951, "transplanted-mother"),
    ],
)
def test_an_extreme_prescription_copies_the_tensor_whole(ratio_b: float, account: str) -> None:
    assert accounts(recipe([row(FFN, ratio_b)])) == {FFN: account}


def test_a_degenerate_tensor_is_never_transplanted() -> None:
    assert accounts(recipe([row(FFN, 1.0, flag="degenerate")])) == {FFN: "merged"}


def test_the_thresholds_of_the_transplant_are_settings() -> None:
    merge = Merge(transplant=Transplant(below=0.45, above=0.55))
    found = accounts(recipe([row(ATTN, 0.4), row(FFN, 0.5), row(NORM, 0.6)], merge=merge))
    assert found == {ATTN: "transplanted-father", FFN: "merged", NORM: "transplanted-mother"}


def test_accounts_add_up_to_all_tensors() -> None:
    rows = [
        row(ATTN),
        row(FFN, 0.01),
        row(NORM, 0.99),
        row(EMBED, presence="identical"),
        row("counter", presence="not-a-weight", dtype="I64"),
        row("mtp.fc.weight", presence="only-in-father"),
        row("visual.x.weight", presence="only-in-mother"),
    ]
    found = recipe(rows, merge=Merge(one_sided="Keep"))
    assert [decision.name for decision in found.decisions] == [one.name for one in rows]
    assert sum(found.accounts().values()) == len(rows)
    assert len(found.accounts()) == len(rows)


@pytest.mark.parametrize(
    ("presence", "words"), [("only-in-father", "father has it, mother"), ("only-in-mother", "mother has it, father")]
)
def test_a_one_sided_tensor_is_refused_by_name_unless_it_is_to_be_kept(presence: str, words: str) -> None:
    rows = [row(FFN), row("mtp.fc.weight", presence=presence)]  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=f"tensor mtp.fc.weight: {words}.*oneSided: Keep"):
        recipe(rows)
    assert accounts(recipe(rows, merge=Merge(one_sided="Keep")))["mtp.fc.weight"] == presence


def test_genes_without_a_tensor_make_no_other_recipe() -> None:
    rows = [row(FFN)]
    assert recipe(rows, attn=0.1, embed=0.9, density_a=0.3).id == recipe(rows, attn=0.7).id
    assert recipe(rows, ffn=0.1).id != recipe(rows, ffn=0.2).id


def test_the_seed_makes_another_child_only_where_something_is_drawn() -> None:
    rows = [row(FFN)]
    assert recipe(rows, seed=1).id != recipe(rows, seed=2).id
    assert recipe(rows, seed=1, density_b=1.0).id == recipe(rows, seed=2, density_b=1.0).id
    copies = [row(FFN, presence="identical"), row(ATTN, 0.99)]
    assert recipe(copies, seed=1, density_b=0.3).id == recipe(copies, seed=2, density_b=0.9).id


def test_density_and_rescale_make_another_child() -> None:
    rows, inverse = [row(FFN)], Merge(rescale="Inverse")
    assert recipe(rows, density_b=0.5).id != recipe(rows, density_b=0.6).id
    assert recipe(rows).id != recipe(rows, merge=inverse).id
    assert recipe(rows, density_b=1.0).id == recipe(rows, merge=inverse, density_b=1.0).id


def test_inverse_rescaling_divides_by_the_density() -> None:
    plain = recipe([row(FFN)], density_b=0.25)
    inverse = recipe([row(FFN)], density_b=0.25, merge=Merge(rescale="Inverse"))
    assert plain.coefficient(plain.decisions[0]) == plain.decisions[0].ratio
    assert inverse.coefficient(inverse.decisions[0]) == 4 * inverse.decisions[0].ratio


def test_other_parents_make_another_child() -> None:
    one, other = (linear_recipe([row(FFN)], 0.5, Pins(father=f, mother="m"), Merge()) for f in "ab")
    assert one.id != other.id


def test_the_plain_average_treats_every_tensor_alike_whatever_its_prescription() -> None:
    found = linear_recipe([row(FFN, 0.01), row(ATTN, 0.6), row(NORM, 0.99)], 0.5, PINS, Merge())
    assert {(decision.account, decision.ratio) for decision in found.decisions} == {("merged", 0.5)}
    assert (found.density, found.seed) == (1.0, 0)


@pytest.mark.parametrize(("share", "account"), [(0.0, "transplanted-father"), (1.0, "transplanted-mother")])
def test_a_share_of_zero_or_one_copies_a_parent(share: float, account: str) -> None:
    assert accounts(linear_recipe([row(FFN), row(ATTN, 0.1)], share, PINS, Merge())) == {FFN: account, ATTN: account}

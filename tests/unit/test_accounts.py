"""Whatever two parents hold, every tensor of either is in one account, and the accounts add up to the union."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.pair import aligned
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe, linear_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.search.genome import Genome
from tests.build import Tensor, merged_tensor, normal, tensor, write_model

PINS = Pins(father="f", mother="m")
KEEP = Mixing(mri_weight=0.7, merge=Merge(one_sided="Keep"))
GENOME = Genome(ratio=0.5, attn=0.4, ffn=0.6, embed=0.5, density_a=1.0, density_b=0.5)


class Held(NamedTuple):
    """How a tensor is held by the parents."""

    dtype: str
    who: str  # father, mother, both
    same: bool  # in both: the same bytes
    wide: float  # factor on Mother's values


HELD = st.builds(
    Held,
    st.sampled_from(["BF16", "F16", "F32", "I64", "BOOL"]),
    st.sampled_from(["father", "mother", "both"]),
    st.booleans(),
    st.sampled_from([1.0, 1e4, 1e-4, 0.0]),
)
NAMES = st.sampled_from(
    [f"{prefix}layers.{n}.mlp.w" for prefix in ("model.", "model.language_model.", "mtp.") for n in range(3)]
    + ["lm_head.weight", "model.embed_tokens.weight", "model.visual.position_ids"]
)


def _tensors(held: dict[str, Held], who: str) -> dict[str, Tensor]:
    made = {"model.norm.weight": tensor(normal(99, 8))}
    for seed, (name, how) in enumerate(held.items()):
        if how.who in (who, "both"):
            other = who == "mother" and not how.same
            values = normal(seed + 50 * other, 4, 3) * (how.wide if other else 1.0)
            made[name] = tensor(np.abs(values) * 1000 if how.dtype in ("I64", "BOOL") else values, how.dtype)
    return made


def _pair(path: Path, held: dict[str, Held]) -> tuple[ModelFolder, ModelFolder]:
    return aligned(*(write_model(path / who, _tensors(held, who)) for who in ("father", "mother")))


@given(st.dictionaries(NAMES, HELD, max_size=10))
def test_accounts_add_up_to_the_union_of_both_parents(held: dict[str, Held]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        father, mother = _pair(Path(folder), held)
        rows = list(diagnose(father, mother, Mri()))
        union = {*father.tensors, *mother.tensors}
        for recipe in (
            child_recipe(rows, GENOME, PINS, KEEP, 1),
            *(linear_recipe(rows, share, PINS, KEEP.merge) for share in (0.0, 0.5, 1.0)),
        ):
            assert [decision.name for decision in recipe.decisions] == sorted(union)
            assert sum(recipe.accounts().values()) == len(union)
            for decision in recipe.decisions:
                in_father, in_mother = decision.name in father.tensors, decision.name in mother.tensors
                if decision.account in ("only-in-father", "only-in-mother"):
                    assert decision.account == f"only-in-{'father' if in_father else 'mother'}"
                    assert in_father != in_mother
                source = mother if decision.source == "mother" else father
                assert decision.name in source.tensors, "there is something to copy"


def test_an_expert_stack_is_a_tensor_like_any_other(tmp_path: Path) -> None:
    stack, down, router = (
        f"model.layers.0.mlp.{part}" for part in ("experts.gate_up_proj", "experts.down_proj", "gate.weight")
    )
    shapes = {stack: (8, 16, 4), down: (8, 4, 8), router: (8, 4)}
    parents = []
    for seed, who in enumerate(("father", "mother")):
        held = {name: tensor(normal(10 * seed + i, *shape)) for i, (name, shape) in enumerate(shapes.items())}
        held[down] = tensor(normal(5, *shapes[down]))
        parents.append(write_model(tmp_path / who, held))
    father, mother = aligned(*parents)
    rows = {row.name: row for row in diagnose(father, mother, Mri())}
    assert (rows[stack].kind, rows[stack].shape, rows[stack].size) == ("ffn", (8, 16, 4), 512)
    recipe = linear_recipe(list(rows.values()), 0.5, PINS, Merge())
    assert {decision.name: decision.account for decision in recipe.decisions} == {
        stack: "merged",
        down: "identical",
        router: "merged",
    }
    decision = next(d for d in recipe.decisions if d.name == stack)
    found, dtype = merged_tensor(decision, recipe, father, mother)
    a, b = ((folder.bits(stack).astype(np.uint32) << 16).view(np.float32) for folder in (father, mother))
    halfway = tensor(a + (b - a) * np.float32(0.5))
    assert dtype == "BF16"
    assert found.tobytes() == halfway.bits.tobytes()

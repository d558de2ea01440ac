"""A third `base`: what may be one, what it changes in a recipe, a search and a claim, and what it leaves as it was."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darwinmerge.checkpoint.compatible import require_base
from darwinmerge.checkpoint.dtypes import narrow
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.pair import aligned, aligned_base
from darwinmerge.errors import BadConfiguration, BadInput
from darwinmerge.experiment.experiment import experiment_of
from darwinmerge.experiment.load import parse
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.experiment.places import require_apart
from darwinmerge.experiment.searching import Fitness
from darwinmerge.merge.arithmetic import jobs, merged_tensors
from darwinmerge.merge.overrides import Override, overriding
from darwinmerge.merge.recipe import Mixing, Pins, Recipe, child_recipe, linear_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.pipeline.claim import claim
from darwinmerge.pipeline.tasks import mixing_of
from darwinmerge.search.fitness import Heuristic
from darwinmerge.search.genome import Genome
from darwinmerge.search.phase1 import genes_of
from darwinmerge.store import FileStore
from tests.build import Tensor, manifest_text, normal, row, table, tensor, write_model
from tests.unit.test_methods import REFERENCES, SEED, Given

ATTN, FFN, NORM = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
PINS = Pins(father="f" * 64, mother="m" * 64, base="b" * 64)
GENES = {"ratio": 0.2, "attn": 0.4, "ffn": 0.6, "embed": 0.8, "density_a": 0.7, "density_b": 0.5}


def tensors(seed: int) -> dict[str, Tensor]:
    return {
        ATTN: tensor(normal(seed, 40, 50)),
        FFN: tensor(normal(seed + 10, 30, 41), "F32"),
        NORM: tensor(np.ones(8)),
    }


def opened(path: Path, base: dict[str, Tensor], **config: Any) -> tuple[ModelFolder, ModelFolder, ModelFolder]:
    father, mother = aligned(write_model(path / "f", tensors(1)), write_model(path / "m", tensors(2)))
    return father, mother, aligned_base(write_model(path / "b", base, **config), father, mother)


def recipe(
    seed: int = 5,
    base: bool = True,
    pins: Pins = PINS,
    genes: dict[str, float] | None = None,
    overrides: Sequence[Override] = (),
    **merge: Any,
) -> Recipe:
    mixing, genome = Mixing(mri_weight=0.7, merge=Merge(**merge), base=base), Genome(**{**GENES, **(genes or {})})
    change = overriding(overrides, mixing.merge.method)
    return child_recipe([row(FFN), row(ATTN)], genome, pins, mixing, seed, change)


# ---- what may be one


def test_a_base_may_have_another_prefix_other_dtypes_and_tensors_of_its_own(tmp_path: Path) -> None:
    held = {name.replace("model.", "model.language_model."): of for name, of in tensors(3).items()}
    held["mtp.fc.weight"] = tensor(normal(1, 3))
    father, mother, base = opened(tmp_path, held | {"model.language_model.norm.weight": tensor(np.ones(8), "F32")})
    require_base(base, father, mother)
    assert set(base.tensors) == {ATTN, FFN, NORM}


@pytest.mark.parametrize(
    ("changed", "config", "said"),
    [
        ({FFN: None}, {}, f"tensor {FFN}: both parents have it, base .* lacks it; name what both parents are"),
        ({FFN: tensor(normal(1, 30, 40))}, {}, rf"tensor {FFN}: base .* has shape \(30, 40\), father \(30, 41\)"),
        ({FFN: tensor([[np.nan] * 41] * 30)}, {}, f"tensor {FFN}: 1230 of base .* are NaN or infinite"),
        ({FFN: tensor([[np.inf] * 41] * 30, "F32")}, {}, f"tensor {FFN}: 1230 of base .* are NaN or infinite"),
        ({}, {"model_type": "other"}, "is a model of type 'other', its fine-tune .* of 'tiny'"),
        ({}, {"quantization_config": {"bits": 4}}, "its weights are quantised"),
    ],
)
def test_what_is_no_base_of_the_parents_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Tensor | None], config: dict[str, Any], said: str
) -> None:
    held = {name: of for name, of in {**tensors(3), **changed}.items() if of is not None}
    father, mother, base = opened(tmp_path, held, **config)
    with pytest.raises(BadInput, match=said):
        require_base(base, father, mother)


@pytest.mark.parametrize(
    ("merge", "base", "said"),
    [
        ({"method": "Ties"}, "", "merge.method Ties moves from a base to both parents; name it at parents.base.uri"),
        ({"method": "TaskArithmetic"}, "", "name it at parents.base.uri"),
        ({"lambda": 0.5}, "", "need a base; name it at parents.base.uri, or leave them out"),
        ({"normalize": False}, "", "need a base"),
        ({"rescale": "L1"}, "", "need a base"),
        ({"method": "Slerp"}, "models/base", "Slerp has no use for parents.base; leave it out"),
        ({"method": "Linear"}, "models/base", "Linear has no use for parents.base"),
        ({"arithmetic": "Source"}, "models/base", "Source is the letter of DareTies without a base"),
        ({}, "models/father", "base is one of the parents; leave it out"),
        (
            {"method": "Slerp", "lambda": 0.5},
            "",
            "lambda is a parameter of DareTies, Ties, TaskArithmetic only; leave it",
        ),
        ({"method": "Ties", "rescale": "Inverse"}, "models/base", "rescale is a parameter of DareTies only"),
    ],
)
def test_methods_and_bases_that_do_not_go_together_are_refused_with_the_remedy(
    merge: dict[str, Any], base: str, said: str
) -> None:
    parents = {"father": {"uri": "models/father"}, "mother": {"uri": "models/mother"}}
    based = {"base": {"uri": base}} if base else {}
    with pytest.raises(BadConfiguration, match=re.escape(said)):
        parse(manifest_text(merge=merge, parents=parents | based))


# ---- recipes


def test_base_method_and_parameters_make_other_recipes() -> None:
    found = [
        recipe(),
        recipe(base=False, pins=PINS.parents),
        recipe(pins=PINS.model_copy(update={"base": "c" * 64})),
        recipe(method="Ties"),
        recipe(method="TaskArithmetic"),
        recipe(base=False, pins=PINS.parents, method="Slerp"),
        recipe(base=False, pins=PINS.parents, method="Linear"),
        recipe(lambda_=0.5),
        recipe(normalize=False),
        recipe(rescale="L1"),
        recipe(genes={"density_a": 0.6}),
    ]
    assert len({one.id for one in found}) == len(found)


def test_what_makes_no_other_child_makes_no_other_recipe() -> None:
    assert recipe(method="Ties", seed=1).id == recipe(method="Ties", seed=2).id  # nothing is drawn
    of_densities = [recipe(method="TaskArithmetic", genes={"density_a": x, "density_b": x}).id for x in (0.3, 1.0)]
    assert len(set(of_densities)) == 1
    whole = {"density_a": 1.0, "density_b": 1.0}
    assert recipe(genes=whole, rescale="L1", seed=1).id == recipe(genes=whole, seed=2).id
    mixings = [Mixing(mri_weight=0.7, merge=Merge(lambda_=x), base=True) for x in (0.5, 1.0)]
    copies = [child_recipe([row(FFN, 0.99)], Genome(**GENES), PINS, mixing, 1) for mixing in mixings]
    assert copies[0].id == copies[1].id == child_recipe([row(FFN, 0.99)], Genome(**GENES), PINS.parents, MIXING, 1).id


MIXING = Mixing(mri_weight=0.7, merge=Merge())


def test_the_plain_average_knows_no_base() -> None:
    found = [linear_recipe([row(FFN)], 0.5, pins, Merge(lambda_=0.5)) for pins in (PINS, PINS.parents)]
    assert found[0].id == found[1].id


def test_a_recipe_reads_back_as_itself() -> None:
    for found in (recipe(), recipe(method="Ties", lambda_=0.5, normalize=False), recipe(rescale="L1")):
        assert Recipe.model_validate_json(found.model_dump_json(by_alias=True)).id == found.id


def test_an_override_of_a_density_is_of_both_task_vectors() -> None:
    found = recipe(overrides=[Override(kind="ffn", density=0.5)])
    ffn, attn = found.decisions
    assert (found.density_a_of(ffn), found.density_of(ffn)) == (0.5, 0.5)
    assert (found.density_a_of(attn), found.density_of(attn)) == (0.7, 0.5)


def test_an_override_of_a_density_is_refused_where_a_method_has_none() -> None:
    with pytest.raises(BadConfiguration, match="density, which TaskArithmetic has none of"):
        recipe(method="TaskArithmetic", overrides=[Override(kind="ffn", density=0.5)])


def test_what_only_an_override_gives_an_effect_counts() -> None:
    whole, thinned = {"density_a": 1.0, "density_b": 1.0}, [Override(kind="ffn", density=0.5)]
    found = recipe(base=False, genes=whole, overrides=thinned, rescale="Inverse")
    assert (found.seed, found.rescale) == (5, "Inverse")
    assert found.coefficient(found.decisions[0]) == found.decisions[0].ratio * 2
    assert found.coefficient(found.decisions[1]) == found.decisions[1].ratio
    copies, merged = [Override(pattern=".", ratio=1)], [Override(kind="ffn", ratio=0.3), Override(pattern=".", ratio=1)]
    assert recipe(method="Ties", overrides=copies).base == ""
    assert recipe(method="Ties", overrides=merged).base == PINS.base


def test_an_override_that_says_what_is_so_anyway_makes_no_other_recipe() -> None:
    same, one = {"density_a": 0.5, "density_b": 0.5}, [Override(kind="ffn", density=0.5)]
    assert recipe(genes=same, overrides=one).id == recipe(genes=same).id
    assert recipe(base=False, overrides=one).id == recipe(base=False).id
    assert recipe(overrides=one).id != recipe().id


# ---- whole children


@pytest.mark.parametrize("method", ["DareTies", "Ties", "TaskArithmetic", "Slerp", "Linear"])
def test_every_tensor_of_a_child_is_its_methods_formula(tmp_path: Path, method: str) -> None:
    father, mother, base = opened(tmp_path, tensors(3))
    based = method not in ("Slerp", "Linear")
    mixing = Mixing(mri_weight=0.7, merge=Merge.model_validate({"method": method}), base=based)
    rows = list(diagnose(father, mother, Mri()))
    pins = PINS if based else PINS.parents
    found = child_recipe(rows, Genome(**GENES), pins, mixing, SEED)
    held = zip(found.decisions, merged_tensors(found.decisions, found, father, mother, base), strict=True)
    accounts = {decision.name: decision.account for decision in found.decisions}
    assert accounts == {ATTN: "merged", FFN: "merged", NORM: "identical"}
    for decision, (bits, dtype) in held:
        if decision.account != "merged":
            assert bits.tobytes() == father.bits(decision.name).tobytes()
            continue
        a, b, c = (Tensor(of.info(decision.name).dtype, (), of.bits(decision.name)) for of in (father, mother, base))
        terms = found.terms(decision)
        given = Given(a, b, c, method, decision.ratio, (terms.density_a, terms.density_b), {})
        if method in ("DareTies", "Ties"):
            assert given.densities == (0.7, 0.5)
        exact = [narrow(one.astype(np.float32), dtype) for one in REFERENCES[method](given, decision.name)]
        alike = np.logical_or.reduce([_near(bits, one, dtype) for one in exact])
        assert alike.all()


def _near(found: Any, exact: Any, dtype: str) -> Any:
    """Within a step of BF16, or within what float32 loses between numbers of this size."""
    if dtype == "BF16":
        return np.abs(found.astype(np.int32) - exact.astype(np.int32)) <= 1
    return np.abs(found.astype(np.float64) - exact) <= 2.0**-20 * 0.1


def test_a_recipe_with_a_base_says_so_where_none_is_given(tmp_path: Path) -> None:
    father, mother, _ = opened(tmp_path, tensors(3))
    found = recipe()
    with pytest.raises(BadInput, match=r"moves from a base .* and none is given"):
        jobs(found.decisions[0], found, father, mother)


# ---- search


def test_with_a_base_both_densities_are_searched_and_the_fitness_listens_to_both() -> None:
    based = Mixing(mri_weight=0.7, merge=Merge(), base=True)
    assert genes_of(table(), MIXING) == ("ratio", "attn", "ffn", "embed", "density_b")
    assert genes_of(table(), based) == ("ratio", "attn", "ffn", "embed", "density_a", "density_b")
    slerp = Mixing(mri_weight=0.7, merge=Merge(method="Slerp"))
    assert genes_of(table(), slerp) == ("ratio", "attn", "ffn", "embed")
    low, high = (Genome(**{**GENES, "density_a": density}) for density in (0.2, 0.8))
    fitness, plain = Heuristic(table(), based, Fitness()), Heuristic(table(), MIXING, Fitness())
    assert fitness(low) < fitness(high)
    assert plain(low) == plain(high)


# ---- places


def experiment(tmp_path: Path, base: str = "", **spec: Any) -> Any:
    parents = {"father": {"uri": "f"}, "mother": {"uri": "m"}} | ({"base": {"uri": base}} if base else {})
    return experiment_of(parse(manifest_text(parents=parents, store={"uri": "store"}, **spec)), tmp_path)


def test_a_base_is_absolute_like_every_place_and_no_part_of_the_science(tmp_path: Path) -> None:
    with_base = experiment(tmp_path, "b")
    assert with_base.where.base == str(tmp_path / "b")
    assert mixing_of(with_base.spec).base
    assert not mixing_of(experiment(tmp_path).spec).base


def test_an_output_within_the_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"overlaps spec\.parents\.base\.uri"):
        require_apart(experiment(tmp_path, "b", output={"uri": "b/child"}))


@pytest.mark.parametrize(("first", "second"), [("", "b"), ("b", "")])
def test_a_store_keeps_its_experiment_with_or_without_a_base(tmp_path: Path, first: str, second: str) -> None:
    store = FileStore(tmp_path / "store")
    claim(experiment(tmp_path, first), store)
    with pytest.raises(BadConfiguration, match=r"with (a|no) base, and the manifest names (a|no) base"):
        claim(experiment(tmp_path, second), store)

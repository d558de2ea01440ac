"""A model that stays in memory: what a gene doesn't touch stays as it is, and the child is the same bit for bit."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.evaluation import resident
from darwinmerge.evaluation.resident import Resident
from darwinmerge.experiment.load import load
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge import arithmetic
from darwinmerge.merge.recipe import Decision, Mixing, Pins, Recipe, child_recipe, linear_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.pipeline.tasks import Terms, terms_of
from darwinmerge.search.genome import Genome
from tests.integration.conftest import World
from tests.integration.test_activations import folder_of, tensors_of

EMBEDDING = "model.embed_tokens.weight"
PINS = Pins(father="f", mother="m")
GENOME = Genome(ratio=0.5, attn=0.4, ffn=0.6, embed=0.5, density_a=1.0, density_b=0.8)
Parents = tuple[ModelFolder, ModelFolder]


@pytest.fixture(scope="module")
def parents(material: Path) -> Parents:
    pair = material / "parents/tiny-qwen35"
    return ModelFolder(pair / "father"), ModelFolder(pair / "mother")


@pytest.fixture
def terms(world: World) -> Terms:
    return terms_of(load(world.manifest).spec)


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors that have been merged, one after the other."""
    names: list[str] = []
    real = arithmetic.merged_tensors

    def noted(decisions: list[Decision], *rest: Any, **more: Any) -> Iterator[Any]:
        names.extend(decision.name for decision in decisions)
        return real(decisions, *rest, **more)

    monkeypatch.setattr(resident, "merged_tensors", noted)
    return names


def recipe(parents: Parents, genes: Mapping[str, float] | None = None, seed: int = 1) -> Recipe:
    rows = list(diagnose(*parents, Mri()))
    mixing = Mixing(mri_weight=0.3, merge=Merge())
    return child_recipe(rows, GENOME.model_copy(update=genes or {}), PINS, mixing, seed)


def weights(model: Resident) -> dict[str, bytes]:
    held: Any = model.lm.model
    return {name: weight.float().numpy().tobytes() for name, weight in held.state_dict().items()}


@pytest.mark.parametrize(
    ("genes", "part"),
    [({"attn": 0.7}, "attn"), ({"ffn": 0.1}, "mlp"), ({"density_b": 0.7}, ""), ({"density_b": 1.0}, "")],
)
def test_only_what_a_changed_gene_touches_is_merged_again(
    parents: Parents, terms: Terms, merged: list[str], genes: dict[str, float], part: str
) -> None:
    one, other = Resident(parents[0], terms, "cpu"), Resident(parents[0], terms, "cpu")
    one.become(recipe(parents), *parents)
    every = set(merged)
    merged.clear()
    one.become(recipe(parents, genes), *parents)
    assert set(merged) == {name for name in every if part in name}
    other.become(recipe(parents, genes), *parents)
    assert weights(one) == weights(other)


def test_another_seed_and_another_model_share_nothing_with_the_child_before(
    parents: Parents, terms: Terms, merged: list[str]
) -> None:
    rows = list(diagnose(*parents, Mri()))
    model = Resident(parents[0], terms, "cpu")
    model.become(recipe(parents), *parents)
    for wanted in (recipe(parents, seed=2), *(linear_recipe(rows, share, PINS, Merge()) for share in (0.5, 1.0, 0.0))):
        merged.clear()
        model.become(wanted, *parents)
        assert len(merged) == len(wanted.decisions)
    assert weights(model) == weights(Resident(parents[0], terms, "cpu"))


def test_a_child_that_could_not_be_made_leaves_nothing_to_build_on(
    parents: Parents, terms: Terms, merged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Resident(parents[0], terms, "cpu")
    model.become(recipe(parents), *parents)
    noted = vars(resident)["merged_tensors"]

    def broken(*given: Any, **more: Any) -> Iterator[Any]:
        yield next(noted(*given, **more))
        raise OSError("gone")

    monkeypatch.setattr(resident, "merged_tensors", broken)
    with pytest.raises(OSError, match="gone"):
        model.become(recipe(parents, {"attn": 0.7}), *parents)
    monkeypatch.setattr(resident, "merged_tensors", noted)
    merged.clear()
    model.become(recipe(parents), *parents)
    assert len(merged) == len(recipe(parents).decisions)


def test_weights_that_are_merged_in_place_are_those_that_are_copied(parents: Parents, terms: Terms) -> None:
    in_place, copied = (Resident(parents[0], terms.model_copy(update={"dtype": d}), "cpu") for d in ("auto", "float32"))
    for genes in ({}, {"ffn": 0.9}):
        in_place.become(recipe(parents, genes), *parents)
        copied.become(recipe(parents, genes), *parents)
        assert weights(in_place) == weights(copied)


def test_of_two_tensors_that_are_one_weight_of_the_model_the_last_counts(
    parents: Parents, terms: Terms, tmp_path: Path
) -> None:
    pair = []
    for who, folder in zip(("father", "mother"), parents, strict=True):
        held = tensors_of(folder)
        folder_of(folder, {**held, "lm_head.weight": held[EMBEDDING]}, tmp_path / who)
        config = json.loads(folder.read("config.json")) | {"tie_word_embeddings": True}
        (tmp_path / who / "config.json").write_text(json.dumps(config))
        pair.append(ModelFolder(tmp_path / who))
    father, mother = pair
    wanted = recipe((father, mother))
    made = zip(wanted.decisions, arithmetic.merged_tensors(wanted.decisions, wanted, father, mother), strict=True)
    values = {decision.name: widen(*found).tobytes() for decision, found in made}
    assert values[EMBEDDING] != values["lm_head.weight"]
    model = Resident(father, terms, "cpu")
    model.become(wanted, father, mother)
    assert weights(model)["lm_head.weight"] == values[max(EMBEDDING, "lm_head.weight")]

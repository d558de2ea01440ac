"""What was computed before there were methods and a base keeps its ids and its bits: runs go on, results are found."""

import hashlib
from pathlib import Path

import pytest

from darwinmerge.experiment.load import parse
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.arithmetic import merged_tensors
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe, linear_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.pipeline.tasks import (
    REVISIONS,
    ChildModel,
    ExportInputs,
    Inputs,
    MriInputs,
    ResolveInputs,
    ScoreInputs,
    SearchInputs,
    Task,
    mixing_of,
    terms_of,
)
from darwinmerge.search.genome import Genome
from tests.build import manifest_text, normal, table, tensor, write_model

PINS = Pins(father="f" * 64, mother="m" * 64)
GENOME = Genome.of([0.2, 0.4, 0.6, 0.8, 1.0, 0.5])
SPEC = parse(manifest_text()).spec
MIXING = mixing_of(SPEC)


@pytest.mark.parametrize(
    ("merge", "known"),
    [
        (Merge(), "3034c9c9cf9811881635938e83eaccf82258cc4e82645dcf377f2b6f659a4fe7"),
        (Merge(rescale="Inverse"), "2c83c792a51ffed7d023a58e75ff330a5abd0ec2bbc2d4e6d43fb5cc583aae1d"),
        (
            Merge(arithmetic="Source", dtype="bfloat16"),
            "d05508020940b91d42e62e593c3a6c3ced6e4f1fd574ed36957da13a005dbddb",
        ),
    ],
)
def test_a_recipe_without_a_base_keeps_its_id(merge: Merge, known: str) -> None:
    assert child_recipe(table(), GENOME, PINS, Mixing(mri_weight=0.7, merge=merge), 5).id == known


def test_the_plain_average_keeps_its_id() -> None:
    known = "0c7997e896f2405484f91d137efe7432753d2522f335e8b66697c0ac401640d9"
    assert linear_recipe(table(), 0.5, PINS, Merge()).id == known


@pytest.mark.parametrize(
    ("inputs", "known"),
    [
        (ResolveInputs(), "c237b3aca38b7e44478ea9c7b4daea9b9656c4ba3fe430f03a074c9cbc601dcf"),
        (
            SearchInputs(table="t", mixing=MIXING, search=SPEC.search),
            "6cc2a98a65884f851f75235908d48e02208370e91c42c0aa59cd323f8763fef7",
        ),
        (
            ExportInputs(pins=PINS, table="t", mixing=MIXING, genome=GENOME, max_shard_size="5GB"),
            "904b93c3f3b500fd2493954d2116fe2d9c375b509817063668dbfaecfd9e027a",
        ),
        (
            ScoreInputs(
                pins=PINS,
                table="t",
                rows="r",
                sets=("search",),
                mixing=MIXING,
                terms=terms_of(SPEC),
                model=ChildModel(genome=GENOME),
            ),
            "2e94ff6f9ae812d405ca8cb7a74bf39a5bd125677179ca301077179edec7d356",
        ),
    ],
    ids=lambda found: found.stage if hasattr(found, "stage") else "",
)
def test_a_task_without_a_base_keeps_its_id(inputs: Inputs, known: str) -> None:
    assert Task(revision=REVISIONS[inputs.stage], seed=5, inputs=inputs).id == known


def test_the_diagnosis_has_one_id_with_and_without_a_base() -> None:
    based = PINS.model_copy(update={"base": "b" * 64})
    ids = {Task(revision=1, seed=0, inputs=MriInputs(pins=pins.parents, mri=Mri())).id for pins in (PINS, based)}
    assert len(ids) == 1


def test_a_child_without_a_base_keeps_its_bits(tmp_path: Path) -> None:
    weight = "model.layers.0.mlp.up_proj.weight"
    father = write_model(tmp_path / "f", {weight: tensor(normal(1, 30, 41)), "A_log": tensor(normal(2, 8), "F32")})
    mother = write_model(tmp_path / "m", {weight: tensor(normal(3, 30, 41)), "A_log": tensor(normal(4, 8))})
    rows = list(diagnose(father, mother, Mri()))
    recipe = child_recipe(rows, GENOME, PINS, Mixing(mri_weight=0.7, merge=Merge()), 5)
    bits = b"".join(found.tobytes() for found, _ in merged_tensors(recipe.decisions, recipe, father, mother))
    assert hashlib.sha256(bits).hexdigest() == "2a7e9c1050b28916a006de0c805e49fc81af63fcaf8594aec341ac6420aa49c0"

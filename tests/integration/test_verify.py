"""`darwin verify`: a child is what its record says, bit for bit, and whatever isn't is named."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadInput
from darwinmerge.experiment.merging import Merge
from darwinmerge.publish.record import record_of
from darwinmerge.publish.verify import Check, checks
from darwinmerge.store.layout import CHILD_RECORD
from tests.integration.conftest import World, darwin
from tests.integration.test_qwen35 import merged
from tests.integration.test_s3_parents import upload
from tests.qwen35 import Pair, make_pair
from tests.s3 import S3

T = TypeVar("T")
CHECKS = ["files", "config", "parents", "accounts", "diagnosis", "recipe", "weights"]
UP = "model.language_model.layers.1.mlp.up_proj.weight"  # merged
NORM = "model.language_model.norm.weight"  # identical


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Parents with tensors of every account, and a tokenizer."""
    made = make_pair(tmp_path_factory.mktemp("pair"))
    for folder in (made.father, made.mother):
        (folder.path / "tokenizer.json").write_text("{}")
    return made._replace(father=ModelFolder(made.father.path), mother=ModelFolder(made.mother.path))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """Their child, in shards; tests look at it and don't change it."""
    return merged(tmp_path_factory.mktemp("child"), pair, Merge(one_sided="Keep")).child.path


@pytest.fixture
def child(original: Path, tmp_path: Path) -> Path:
    """A copy of the child, for a test to change."""
    return Path(shutil.copytree(original, tmp_path / "child"))


def silently(things: Iterable[T], what: str, total: int) -> Iterator[T]:
    return iter(things)


def looked_at(child: Path, father: ModelFolder, mother: ModelFolder, quick: bool = False) -> dict[str, Check]:
    """All checks by name."""
    folder = open_model(str(child))
    found = list(checks(folder, (father, mother), record_of(folder), quick, silently))
    assert [check.name for check in found] == CHECKS
    return {check.name: check for check in found}


def failed(found: dict[str, Check]) -> dict[str, str]:
    """What was found wrong."""
    return {name: check.found for name, check in found.items() if check.state == "FAILED"}


def rewrite(child: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record of a child."""
    path = child / CHILD_RECORD
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def forge(child: Path) -> None:
    """Make the record say what the files and the recipe are now, as somebody would who hides a change."""
    folder = ModelFolder(child)
    recipe = record_of(folder).recipe
    files = {name: sha for name, sha in folder.file_digests.items() if name.endswith(".safetensors")}
    rewrite(child, lambda record: record.update(files=files, recipeId=recipe.id, accounts=recipe.accounts()))


def flip(child: Path, name: str) -> str:
    """Flip the last bit of the last element of a tensor; gives the file."""
    located = ModelFolder(child).tensors[name]
    data = bytearray((child / located.file).read_bytes())
    data[located.info.stop - 2] ^= 1
    (child / located.file).write_bytes(data)
    return located.file


def decided(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(decision for decision in record["recipe"]["decisions"] if decision["name"] == name)


def test_a_child_with_tensors_of_every_account_is_what_its_record_says(pair: Pair, original: Path) -> None:
    found = looked_at(original, pair.father, pair.mother)
    assert {check.state for check in found.values()} == {"ok"}
    assert found["accounts"].found.endswith(
        "4 only-in-father, 1 transplanted-father, 1 transplanted-mother: all 94 tensors of both parents"
    )


def test_nothing_is_written(pair: Pair, original: Path) -> None:
    def state() -> dict[str, int]:
        folders = (original, pair.father.path, pair.mother.path)
        return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}

    before = state()
    looked_at(original, pair.father, pair.mother)
    assert state() == before


@pytest.mark.parametrize("name", [UP, NORM], ids=["merged", "copied"])
def test_one_flipped_bit_is_named(pair: Pair, child: Path, name: str) -> None:
    file = flip(child, name)
    found = failed(looked_at(child, pair.father, pair.mother))
    size = ModelFolder(child).info(name).size
    assert found == {"files": f"{file} was changed", "weights": f"{name} differs in 1 of {size} elements"}


def test_a_bit_whose_file_s_hash_was_forged_is_found_by_merging_again(pair: Pair, child: Path) -> None:
    flip(child, UP)
    forge(child)
    assert list(failed(looked_at(child, pair.father, pair.mother))) == ["weights"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_an_exchanged_side_file_is_named(pair: Pair, child: Path, name: str) -> None:
    (child / name).write_text('{"model_type": "another"}')
    assert failed(looked_at(child, pair.father, pair.mother)) == {"config": f"{name} is not Father's"}


@pytest.mark.parametrize("name", ["model.safetensors", "modeling_own.py"])
def test_a_file_that_a_loader_would_take_is_named(pair: Pair, child: Path, name: str) -> None:
    (child / name).write_bytes(b"")
    assert failed(looked_at(child, pair.father, pair.mother)) == {"files": f"{name} is no part of the child"}


def test_a_file_that_a_loader_would_take_is_named_though_the_record_was_forged_to_tell_of_it(
    pair: Pair, child: Path
) -> None:
    """transformers takes a stray model.safetensors before the shards of the index."""
    shutil.copy(next(child.glob("model-*.safetensors")), child / "model.safetensors")
    sha256 = open_model(str(child)).files.sha256("model.safetensors")
    rewrite(child, lambda record: record["files"].update({"model.safetensors": sha256}))
    found = failed(looked_at(child, pair.father, pair.mother))
    assert found == {"files": "model.safetensors is no part of the child"}


def test_a_changed_ratio_in_the_record_is_named_though_its_id_was_forged(pair: Pair, child: Path) -> None:
    rewrite(child, lambda record: decided(record, UP).update(ratio=0.25))
    assert "its id is " in failed(looked_at(child, pair.father, pair.mother))["recipe"]
    forge(child)
    found = failed(looked_at(child, pair.father, pair.mother))
    assert found["recipe"].startswith(f"{UP} is merged at 0.25, recomputed merged at 0.5")
    assert found["weights"].startswith(f"{UP} differs in ")


def test_a_changed_genome_in_the_record_is_named(pair: Pair, child: Path) -> None:
    rewrite(child, lambda record: record["genome"].update(attn=0.9))
    found = failed(looked_at(child, pair.father, pair.mother))
    assert list(found) == ["recipe"]
    assert "recomputed merged at" in found["recipe"]


def test_weights_made_with_another_seed_are_found_out(pair: Pair, child: Path) -> None:
    rewrite(child, lambda record: record["recipe"].update(seed=2))
    forge(child)
    found = failed(looked_at(child, pair.father, pair.mother))
    assert list(found) == ["weights"]
    assert "differs in" in found["weights"]


def test_a_tensor_that_is_counted_as_what_it_is_not_is_named(pair: Pair, child: Path) -> None:
    rewrite(child, lambda record: decided(record, UP).update(account="identical"))
    forge(child)
    found = looked_at(child, pair.father, pair.mother)
    assert failed(found)["accounts"] == f"{UP} is recorded as identical, and is not that"
    assert found["weights"].state == "not checked"


@pytest.mark.parametrize(
    "change",
    [{"name": "model.made.up.weight"}, {"account": "merged", "density": 0.0}, {"source": "mother"}],
    ids=["a tensor of nobody", "a density of nothing", "a source that has no such tensor"],
)
def test_a_recipe_that_the_parents_cannot_follow_fails(pair: Pair, child: Path, change: dict[str, Any]) -> None:
    name = "mtp.norm.weight" if "source" in change else UP
    rewrite(child, lambda record: decided(record, name).update(change))
    assert "accounts" in failed(looked_at(child, pair.father, pair.mother))


def test_another_parent_is_named_and_nothing_is_said_about_a_child_of_him(pair: Pair, original: Path) -> None:
    found = looked_at(original, pair.father, pair.father)
    assert failed(found) == {}
    assert found["parents"].found.startswith(f"mother {pair.father} is not the one recorded: model-00001-of-")
    assert {found[name].state for name in CHECKS[2:]} == {"not checked"}


def test_the_command_does_not_accuse_a_child_of_parents_that_are_not_its_own(pair: Pair, child: Path) -> None:
    exchanged = ("--father", str(pair.mother), "--mother", str(pair.father), "--quick")
    run = darwin("verify", child, *exchanged)
    assert run.returncode == 65
    assert "FAILED" not in run.stdout
    assert run.stdout.endswith("These are not the parents of the record; the child was not checked against them.\n")
    assert json.loads(darwin("verify", child, *exchanged, "--json").stdout)["ok"] is False
    flip(child, UP)
    assert darwin("verify", child, *exchanged).returncode == 1


def test_a_pin_in_the_record_that_its_own_files_do_not_give_is_a_failure(pair: Pair, child: Path) -> None:
    rewrite(child, lambda record: record["pins"].update(mother="0" * 64))
    found = looked_at(child, pair.father, pair.mother)
    assert failed(found)["parents"].startswith("mother's pin is ")


def test_a_model_card_is_not_vouched_for(pair: Pair, child: Path) -> None:
    (child / "README.md").write_text("# The best model of all\n")
    run = darwin("verify", child, "--father", str(pair.father), "--mother", str(pair.mother))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "unrecorded  others     README.md: no part of the record, and not checked\n" in run.stdout


def test_quick_merges_nothing(pair: Pair, child: Path) -> None:
    flip(child, UP)
    forge(child)
    found = looked_at(child, pair.father, pair.mother, quick=True)
    assert {name for name, check in found.items() if check.state == "ok"} == {*CHECKS[:4]}
    assert {name for name, check in found.items() if check.state == "not checked"} == {*CHECKS[4:]}


def test_an_older_record_is_held_against_the_weights_though_it_cannot_be_diagnosed(pair: Pair, child: Path) -> None:
    path = child / CHILD_RECORD
    told = json.loads(path.read_text())
    path.write_text(json.dumps({key: told[key] for key in told if key not in ("mri", "overrides")}))
    found = looked_at(child, pair.father, pair.mother)
    assert {name for name, check in found.items() if check.state == "not checked"} == {"diagnosis", "recipe"}
    assert found["weights"].state == "ok"


@pytest.mark.parametrize("quick", [True, False])
def test_a_recipes_false_name_is_found_even_where_it_is_not_computed_again(
    pair: Pair, child: Path, quick: bool
) -> None:
    rewrite(child, lambda record: record.update(recipeId="f" * 64, mri=None))
    found = failed(looked_at(child, pair.father, pair.mother, quick))
    assert found["recipe"].startswith("its id is ")


def test_a_record_with_numbers_that_are_none_is_refused(child: Path) -> None:
    rewrite(child, lambda record: decided(record, UP).update(ratio=float("nan")))
    with pytest.raises(BadInput, match=f"{CHILD_RECORD}: this version can't read it"):
        record_of(ModelFolder(child))


def test_the_command_proves_a_run_s_child_by_itself(undisturbed: World) -> None:
    exported = next((undisturbed.store / "children").iterdir())
    run = darwin("verify", exported, "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert told["ok"]
    assert [check["name"] for check in told["checks"] if check["state"] == "ok"] == CHECKS


def test_the_command_proves_a_merge_by_hand_with_its_overrides_and_settings(pair: Pair, tmp_path: Path) -> None:
    parents = ("--father", str(pair.father), "--mother", str(pair.mother))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "overrides:\n- {kind: ffn, layers: 0-1, ratio: 0.2, density: 0.5}\n- {pattern: lm_head, ratio: 0}\n"
    )
    settings = ("--set", "mri.bins=64", "--set", "merge.oneSided=Keep", "--seed", "7", "--recipe", recipe)
    out = tmp_path / "child"
    made = darwin("merge", *parents, "--genome", "ratio=0.5,density_b=0.8", *settings, "-o", out)
    assert made.returncode == 0, made.stderr
    run = darwin("verify", out, *parents)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("This child is what its record says.\n")
    alone = darwin("verify", out)
    assert alone.returncode == 78
    assert "doesn't say where its father lies; give --father" in alone.stderr


def test_the_command_exits_1_where_something_is_not_as_recorded(pair: Pair, child: Path) -> None:
    file = flip(child, UP)
    run = darwin("verify", child, "--father", str(pair.father), "--mother", str(pair.mother), "--quick")
    assert run.returncode == 1
    assert f"FAILED      files      {file} was changed" in run.stdout
    assert run.stdout.endswith("This child is not what its record says.\n")


def test_a_model_that_is_no_child_is_refused(pair: Pair) -> None:
    run = darwin("verify", str(pair.father))
    assert run.returncode == 65
    assert f"no {CHILD_RECORD} in it; give a child that Darwin has made" in run.stderr


def test_child_and_parents_may_lie_in_s3(s3: S3, pair: Pair, original: Path) -> None:
    child = upload(s3, original, "verify/child")
    father, mother = (upload(s3, getattr(pair, who).path, f"verify/{who}") for who in ("father", "mother"))
    run = darwin("verify", child, "--father", father, "--mother", mother)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("This child is what its record says.\n")

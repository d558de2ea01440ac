"""What must not be run is refused by name, before anything is computed, and loses nothing."""

import json
import shutil
from pathlib import Path

import yaml

from tests.integration.conftest import World, darwin


def copied(undisturbed: World, world: World) -> World:
    """The undisturbed run's store under a manifest that may be changed."""
    shutil.copytree(undisturbed.store, world.store)
    return world


def test_a_store_of_another_experiment(undisturbed: World, world: World) -> None:
    copied(undisturbed, world)
    world.manifest.write_text(world.manifest.read_text().replace("name: tiny", "name: other"))
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "belongs to the experiment 'tiny', not to 'other'" in run.stderr


def test_a_store_with_other_settings_names_them(undisturbed: World, world: World) -> None:
    copied(undisturbed, world)
    world.edit("mri", "weight", value=0.5)
    world.edit("seed", value=7)
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "spec.mri.weight: the default there, 0.5 here" in run.stderr
    assert "spec.seed: 1 there, 7 here" in run.stderr


def test_a_parent_that_changed_since_the_run_began(undisturbed: World, world: World, material: Path) -> None:
    copied(undisturbed, world)
    mother = world.folder / "mother"
    shutil.copytree(material / "parents/tiny-qwen35/mother", mother)
    mother.chmod(0o755)
    weights = mother / "model.safetensors"
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    world.edit("parents", "mother", "uri", value=str(mother))
    claim = json.loads((world.store / "experiment.json").read_text())
    claim["parents"][1] = str(mother)  # as if it had lain there from the beginning
    (world.store / "experiment.json").write_text(json.dumps(claim))
    world.edit("evolution", "steps", value=3)
    run = darwin("run", world.manifest)
    assert run.returncode == 65
    assert f"mother {mother} has changed since this run began" in run.stderr


def test_a_store_that_no_writer_reaches(world: World) -> None:
    world.edit("parents", "father", "uri", value="hf://org/model")
    world.edit("store", "uri", value="hf://org/store")
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "spec.parents.father" not in run.stderr, "a model may be there, a store may not"
    assert "spec.store.uri: hf:// can't be reached by this version; give a path or one of file://, pvc://" in run.stderr
    assert darwin("validate", "-f", world.manifest).returncode == 0


def test_a_task_that_does_not_exist_and_a_metric_that_it_has_not(world: World) -> None:
    tasks = [{"name": "skill_a", "metric": "exact_match,none"}]
    world.edit("evaluation", "tasks", value=tasks)
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "metric exact_match,none is not one of its means over questions; allowed: acc,none" in run.stderr


def test_mistakes_in_a_manifest_are_one_clear_message(world: World) -> None:
    world.edit("evolution", "candidates", value=1)
    world.edit("merg", value={})
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "2 mistakes" in run.stderr
    assert "did you mean 'merge'?" in run.stderr
    assert "Traceback" not in run.stderr
    assert not world.store.exists()


def test_other_parents_under_a_finished_store(undisturbed: World, world: World) -> None:
    copied(undisturbed, world)
    father = str(yaml.safe_load(world.manifest.read_text())["spec"]["parents"]["father"]["uri"])
    moved = world.folder / "moved"
    shutil.copytree(father, moved)
    world.edit("parents", "father", "uri", value=str(moved))
    assert darwin("run", world.manifest).returncode == 0, "the same model at another place is the same parent"
    world.edit("parents", "mother", "uri", value=father)
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "with other parents than the manifest names" in run.stderr

"""What would hurt a user and must not: overwritten folders, damaged stores, other machines, code in task files."""

import json
import os
import shutil
from pathlib import Path

import pytest

from darwinmerge.errors import BadConfiguration
from darwinmerge.evaluation.harness import Benchmark
from darwinmerge.experiment.benchmark import BenchmarkTask
from tests.integration.conftest import World, darwin
from tests.integration.test_refusals import copied


@pytest.mark.parametrize("place", ["father", "store"])
def test_an_output_that_would_overwrite_what_it_is_made_from(undisturbed: World, world: World, place: str) -> None:
    copied(undisturbed, world)
    if place == "father":
        father = world.folder / "father"
        shutil.copytree(next((world.store / "children").iterdir()), father)
        world.edit("parents", "father", "uri", value=str(father))
    world.edit("output", value={"uri": place})
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "spec.output.uri" in run.stderr
    assert "overlaps" in run.stderr


def test_an_output_is_published_once_replaced_by_its_own_and_never_over_anything_else(
    undisturbed: World, world: World
) -> None:
    copied(undisturbed, world)
    world.edit("output", value={"uri": "out"})
    assert darwin("run", world.manifest).returncode == 0
    out = world.folder / "out"
    assert (out / "model.safetensors.index.json").exists()
    assert (out / "README.md").read_text().startswith("---")

    shutil.rmtree(out)
    assert darwin("run", world.manifest, "--dry-run").returncode == 0
    assert not out.exists()
    assert darwin("run", world.manifest).returncode == 0, "a folder that somebody moved away is published again"
    assert out.exists()

    (out / "notes.txt").write_text("mine")
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "notes.txt" in run.stderr
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_with_something_else_in_it_is_no_store(world: World) -> None:
    (world.store / "results").mkdir(parents=True)
    (world.store / "results" / "paper.json").write_text("{}")
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert "holds something else than an experiment (results/paper.json)" in run.stderr


@pytest.mark.parametrize("kind", ["scores/", "rows/", "answers/", "experiment.json", "results/mri"])
def test_a_damaged_object_is_named_and_steers_nothing(undisturbed: World, world: World, kind: str) -> None:
    copied(undisturbed, world)
    paths = sorted(path for path in world.store.rglob("*") if path.relative_to(world.store).as_posix().startswith(kind))
    victims = [path for path in paths if path.is_file()]
    for path in victims:
        path.write_bytes(path.read_bytes()[:20])
    for path in (world.store / "results").glob("score-*"):
        if kind == "scores/":
            path.unlink()
    world.edit("evolution", "steps", value=3)
    run = darwin("run", world.manifest)
    assert run.returncode == 65, run.stdout + run.stderr
    assert "is damaged, or another version wrote it" in run.stderr
    assert any(path.relative_to(world.store).as_posix() in run.stderr for path in victims)
    assert "rejected" not in run.stdout


def test_a_run_goes_on_only_in_the_environment_in_which_it_began(undisturbed: World, world: World) -> None:
    copied(undisturbed, world)
    began = json.loads((world.store / "environment.json").read_text())
    (world.store / "environment.json").write_text(json.dumps(began | {"torch": "1.0"}))
    world.edit("evolution", "steps", value=3)
    run = darwin("run", world.manifest)
    assert run.returncode == 78
    assert f"torch: 1.0 there, {began['torch']} here" in run.stderr


def test_a_device_that_is_not_there_costs_no_candidate_its_place(world: World) -> None:
    run = darwin("run", world.manifest, "--device", "mps")
    assert run.returncode not in (0, 1)
    assert "rejected" not in run.stdout
    assert not list((world.store / "results").glob("score-*"))


def test_parents_that_do_not_differ(world: World, material: Path) -> None:
    copy = world.folder / "twin"
    shutil.copytree(material / "parents/tiny-qwen35/father", copy)
    world.edit("parents", "mother", "uri", value=str(copy))
    run = darwin("run", world.manifest)
    assert run.returncode == 65
    assert "there is nothing to merge" in run.stderr


@pytest.mark.parametrize("included", [False, True])
def test_code_in_a_task_file_is_refused_wherever_it_stands(tmp_path: Path, included: bool) -> None:
    coded = "doc_to_text: !function helper.text\n"
    if included:
        (tmp_path / "base.inc").write_text(coded)
        coded = "include: base.inc\n"
    (tmp_path / "coded.yaml").write_text(f"task: coded\ndataset_path: json\n{coded}")
    with pytest.raises(BadConfiguration, match="runs code of its own"):
        Benchmark(str(tmp_path)).task(BenchmarkTask(name="coded"))


def test_a_template_can_not_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    template = "{{ cycler.__init__.__globals__.os.system('touch " + str(touched) + "') }}"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a", "choices": ["b", "c"], "gold": 0}) + "\n")
    (tmp_path / "sly.yaml").write_text(
        "task: sly\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_target: gold\ndoc_to_choice: choices\n"
        f"doc_to_text: {json.dumps(template)}\n"
    )
    with pytest.raises(Exception, match=r"(?i)unsafe|security|load it"):
        Benchmark(str(tmp_path)).task(BenchmarkTask(name="sly"))
    assert not os.path.exists(touched)  # noqa: PTH110 - plainly

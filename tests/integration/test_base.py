"""Runs with a third base, and by another method: to the end, through a kill, by hand, and proved again."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from darwinmerge.checkpoint.dtypes import DTYPES, narrow, widen
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.cli.verify import verify
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.merge.methods import METHODS
from darwinmerge.pipeline.claim import claim
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.worker import perform
from darwinmerge.publish.record import record_of
from darwinmerge.publish.verify import checks
from darwinmerge.report.page import page
from darwinmerge.store import open_store
from tests.build import Tensor, file_bytes, normal
from tests.hub import Hub
from tests.integration.conftest import World, darwin, make_world
from tests.integration.test_kill import Run, keys, wait_until
from tests.integration.test_verify import CHECKS, silently


def make_base(path: Path, father: ModelFolder, mother: ModelFolder) -> Path:
    """A model between both and a little off, so that both have a task vector; no tokenizer, and another context."""
    path.mkdir()
    held = {}
    for name in father.tensors:
        info = father.info(name)
        if not DTYPES[info.dtype].weight:
            held[name] = Tensor(info.dtype, info.shape, father.bits(name))
            continue
        a, b = (widen(of.bits(name), of.info(name).dtype) for of in (father, mother))
        off = normal(len(held), len(a), scale=0.1) * np.abs(a - b).mean()
        held[name] = Tensor(info.dtype, info.shape, narrow((0.5 * a + 0.5 * b + off).astype(np.float32), info.dtype))
    (path / "model.safetensors").write_bytes(file_bytes(held))
    (path / "config.json").write_text(json.dumps(father.config | {"max_position_embeddings": 64}))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, material: Path) -> Path:
    pair = material / "parents/tiny-qwen35"
    folder = tmp_path_factory.mktemp("base") / "base"
    return make_base(folder, *(ModelFolder(pair / who) for who in ("father", "mother")))


def small(world: World, **merge: object) -> World:
    """Two children of one generation, on few rows."""
    world.edit("search", "steps", value=12)
    world.edit("evolution", value={"steps": 1, "candidates": 2})
    world.edit("evaluation", "finalists", value=1)
    rows = {"search": {"rows": 32}, "verdict": {"rows": 40}}
    world.edit("evaluation", "tasks", value=[{"name": "skill_a", **rows}])
    world.edit("merge", value=merge)
    return world


def based(folder: Path, material: Path, base: Path) -> World:
    world = small(make_world(folder, material), rescale="L1")
    world.edit("parents", "base", value={"uri": str(base)})
    return world


def run_here(world: World) -> None:
    """Carry out the plan to its end in this process, which has the libraries already."""
    x = experiment_of(load(world.manifest), world.folder)
    store = open_store(x.where.store)
    results = claim(x, store)
    place = Place(x.where, store, threading.Event(), lambda done, total: None)
    while (found := plan(x, results)).outcome is None:
        for task in found.ready:
            results[task.id] = perform(task, task.id, place, False)
    assert found.outcome.kind == "Complete"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, material: Path, base: Path) -> World:
    """A run with a base that nothing disturbed; tests look at it and don't change it."""
    world = based(tmp_path_factory.mktemp("based") / "world", material, base)
    run_here(world)
    return world


def child_of(world: World) -> Path:
    return next((world.store / "children").iterdir())


def test_a_run_with_a_base_is_dare_ties_and_says_so(undisturbed: World, base: Path) -> None:
    record = record_of(open_model(str(child_of(undisturbed))))
    assert record.recipe.base == record.pins.base == ModelFolder(base).pin
    assert (record.recipe.method, record.recipe.rescale) == ("DareTies", "L1")
    assert record.recipe.density_a < 1
    assert set(record.base) == {"model.safetensors", "config.json"}
    search = next(json.loads(path.read_text()) for path in (undisturbed.store / "results").glob("search-*"))
    assert {"density_a", "density_b"} <= set(search["summary"]["active"])
    card = (child_of(undisturbed) / "README.md").read_text()
    assert f"| base | `base` | `{record.pins.base}` |" in card
    assert "DareTies with a base" in card
    assert "--base BASE" in card


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bytes(
    tmp_path: Path, material: Path, base: Path, undisturbed: World
) -> None:
    world = based(tmp_path / "world", material, base)
    run = Run(world)
    wait_until(lambda: any(key.startswith("results/score-") for key in keys(world.store)))
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert not (world.store / "children").exists()
    again = darwin("run", world.manifest)
    assert again.returncode == 0, again.stdout + again.stderr
    assert world.objects() == undisturbed.objects()


def test_a_base_on_a_hub_is_the_commit_that_it_was_and_gives_the_same_bytes(
    there: Hub, tmp_path: Path, material: Path, base: Path, undisturbed: World
) -> None:
    world = based(tmp_path / "world", material, base)
    world.edit("parents", "base", "uri", value="hf://org/base")
    commit = there.push("org/base", base)
    x = experiment_of(load(world.manifest), world.folder)
    store = open_store(x.where.store)
    results = claim(x, store)
    for task in plan(x, results).ready:
        if task.stage == "resolve":
            place = Place(x.where, store, threading.Event(), lambda done, total: None)
            results[task.id] = perform(task, task.id, place, False)
    there.push("org/base", {"config.json": b"{}"})
    run_here(world)
    mine, theirs = world.objects(), undisturbed.objects()
    alike = {key for key in theirs if not key.startswith("results/resolve-") and not key.endswith("README.md")}
    assert {key: mine[key] for key in alike} == {key: theirs[key] for key in alike}
    resolved = next(key for key in mine if key.startswith("results/resolve-"))
    assert json.loads(mine[resolved])["summary"]["commits"] == {"base": commit}
    child = child_of(world)
    assert json.loads((child / "darwin-run.json").read_text())["base"] == f"hf://org/base@{commit}"
    proof = CliRunner().invoke(verify, [str(child), "--quick"])
    assert proof.exit_code == 0, proof.output
    told = page(x, claim(x, store), store)
    assert f"hf://org/base@{commit}" in told
    assert "--base hf://org/base" in told


def test_a_child_with_a_base_is_proved_from_all_three(undisturbed: World, base: Path, tmp_path: Path) -> None:
    spec = yaml.safe_load(undisturbed.manifest.read_text())["spec"]
    child = open_model(str(child_of(undisturbed)))
    parents = tuple(ModelFolder(Path(spec["parents"][who]["uri"])) for who in ("father", "mother", "base"))
    found = list(checks(child, parents, record_of(child), False, silently))
    assert [check.state for check in found if check.name in CHECKS] == ["ok"] * len(CHECKS)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "config.json").write_text((base / "config.json").read_text() + " ")
    strangers = list(checks(child, (*parents[:2], ModelFolder(other)), record_of(child), True, silently))
    said = {check.name: check for check in strangers}["parents"]
    assert said.state == "not checked"
    assert said.found.startswith(f"base {other} is not the one recorded: config.json differs")


def test_by_hand_it_is_the_runs_child(undisturbed: World, base: Path, tmp_path: Path) -> None:
    spec = yaml.safe_load(undisturbed.manifest.read_text())["spec"]
    record = json.loads((child_of(undisturbed) / "darwin.json").read_text())
    names = {"densityA": "density_a", "densityB": "density_b"}
    genome = ",".join(f"{names.get(gene, gene)}={value}" for gene, value in record["genome"].items())
    parents = [part for who in ("father", "mother") for part in (f"--{who}", spec["parents"][who]["uri"])]
    call = ("merge", *parents, "--base", base, "--method", "DareTies", "--set", "merge.rescale=L1")
    run = darwin(*call, "--genome", genome, "--seed", "1", "-o", tmp_path / "child")
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "child/darwin.json").read_text())["files"] == record["files"]

    proof = CliRunner().invoke(verify, [str(tmp_path / "child"), *parents, "--base", str(base)])
    assert proof.exit_code == 0, proof.output
    assert "weights    merged again, all" in proof.output
    lacking = CliRunner().invoke(verify, [str(tmp_path / "child"), *parents])
    assert isinstance(lacking.exception, BadConfiguration)
    assert "doesn't say where its base lies; give --base" in str(lacking.exception)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "DareTies"])  # which all other runs have
def test_a_run_by_each_method_ends_with_a_child_that_verifies(
    tmp_path: Path, material: Path, base: Path, method: str
) -> None:
    world = small(make_world(tmp_path / "world", material), method=method)
    if METHODS[method].base == "Needed":
        world.edit("parents", "base", value={"uri": str(base)})
    run_here(world)
    record = record_of(open_model(str(child_of(world))))
    assert record.recipe.method == method
    assert bool(record.recipe.base) == (METHODS[method].base == "Needed")
    assert bool(record.recipe.seed) == METHODS[method].draws
    fixed = "so fixed and not searched: density_a at 1, density_b at 1."
    assert (fixed in (world.store / "report.html").read_text()) == (not METHODS[method].densities)
    proof = CliRunner().invoke(verify, [str(child_of(world))])
    assert proof.exit_code == 0, proof.output
    assert "weights    merged again, all" in proof.output

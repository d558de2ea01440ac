"""What the command line does with real runs: shows them, goes on from their stores alone, and cleans up after them."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from darwinmerge.cli.main import cli
from darwinmerge.errors import ExitCode
from darwinmerge.pipeline.claim import claim
from darwinmerge.store import open_store
from darwinmerge.store.find import stores_below
from tests.integration.conftest import World, darwin, lasting, make_world
from tests.s3 import BUCKET, S3
from tests.unit.plan_world import experiment

pytestmark = pytest.mark.timeout(600)


def told(*arguments: str | Path) -> str:
    run = darwin(*arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_a_run_is_listed_with_its_verdict(undisturbed: World) -> None:
    (found,) = json.loads(told("ls", undisturbed.folder, "--json"))
    summary = json.loads((undisturbed.store / "summary.json").read_text())
    assert (found["name"], found["state"]) == ("tiny", "Complete")
    assert found["verdict"] == summary["verdict"]
    assert found["child"] == summary["child"]["path"]
    assert found["best"]["candidate"] == summary["winner"]
    listed = told("ls", undisturbed.folder)
    assert all(word in listed for word in ("tiny", "Complete", "2/2", "6/6", summary["verdict"]["label"]))


def test_a_run_is_shown_the_same_by_its_store_and_by_its_manifest(undisturbed: World) -> None:
    by_store = json.loads(told("show", undisturbed.store, "--json"))
    assert by_store == json.loads(told("show", undisturbed.manifest, "--json"))
    assert len(by_store["candidates"]) == 6
    shown = told("show", undisturbed.store)
    closing = (undisturbed.store / "summary.txt").read_text().splitlines()
    assert all(line.strip() in shown for line in closing if line.startswith("  against"))
    assert "generation  2 of 2; 6 of 6 candidates" in shown


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory, material: Path) -> World:
    """A run of one generation that was given a second one, its manifest gone."""
    world = make_world(tmp_path_factory.mktemp("extended") / "world", material)
    world.edit("evolution", "steps", value=1)
    told("run", world.manifest)
    world.manifest.rename(world.folder / "away")
    told("resume", world.store, "--steps", "2")
    return world


def children(world: World) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in world.store.glob("children/*/*.safetensors")}


def test_a_run_goes_on_from_its_store_alone_to_what_one_run_finds(extended: World, undisturbed: World) -> None:
    assert children(undisturbed).items() <= children(extended).items()
    found = extended.objects()
    same = ("generations/", "scores/", "tables/", "rows/", "answers/")
    for key, data in undisturbed.objects().items():
        if key.startswith(same):
            assert found[key] == data


def test_what_would_be_done_is_told_from_the_store_alone(extended: World) -> None:
    before = lasting(open_store(str(extended.store)))
    assert "finished    Complete" in told("resume", extended.store, "--dry-run")
    more = json.loads(told("resume", extended.store, "--steps", "3", "--dry-run", "--json"))
    assert more["next"][0].startswith("generation 3/3")
    assert more["outcome"] is None
    fewer = darwin("resume", extended.store, "--steps", "1")
    assert fewer.returncode == ExitCode.BAD_CONFIGURATION
    assert fewer.stderr == "error: --steps 1: tiny has 2 generations; they can only become more\n"
    assert lasting(open_store(str(extended.store))) == before


@pytest.mark.slow
def test_after_gc_a_run_is_what_it_was_and_a_former_winner_comes_back_to_the_bit(
    extended: World, tmp_path: Path
) -> None:
    world = World(tmp_path / "world")
    shutil.copytree(extended.folder, world.folder)
    store = str(world.store)
    before, whole = children(world), world.objects()
    assert len(before) == 2, "the second generation has another winner"
    planned = json.loads(told("gc", store, "--json"))
    assert planned["deleted"] is False
    assert world.objects() == whole
    done = json.loads(told("gc", store, "--yes", "--json"))
    assert done == planned | {"deleted": True}
    assert done["bytes"] > 0
    (winner,) = children(world)
    assert json.loads(told("show", store, "--json"))["child"].endswith(winner)
    assert "nothing to delete" in told("gc", store)
    assert "finished    Complete" in told("resume", store, "--dry-run")
    (world.folder / "away").rename(world.manifest)  # its manifest has one generation
    (world.store / "run.json").unlink()  # or it would be refused: it has been run with two
    told("run", world.manifest)
    assert children(world) == before
    told("resume", store, "--steps", "2")
    assert world.objects() == whole


def test_a_run_goes_on_where_it_was_last_run_unless_told_otherwise(undisturbed: World, tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    shutil.copytree(undisturbed.folder, world.folder)
    note = json.loads((world.store / "run.json").read_text())
    note["where"]["device"] = "cuda:7"
    (world.store / "run.json").write_text(json.dumps(note))
    for command in (("run", world.manifest), ("resume", world.store), ("resume", world.manifest)):
        refused = darwin(*command, "--dry-run")
        assert refused.returncode == ExitCode.BAD_CONFIGURATION
        assert "--device cuda:7" in refused.stderr
        assert "finished    Complete" in told(*command, "--dry-run", "--device", "cpu")


def test_stores_are_found_in_a_bucket(s3: S3) -> None:
    place = f"s3://{BUCKET}/found"
    for name in ("a", "deep/b"):
        x = experiment()
        claim(
            x.model_copy(update={"where": x.where.model_copy(update={"store": f"{place}/{name}"})}),
            open_store(f"{place}/{name}"),
        )
    assert list(stores_below(place)) == [f"{place}/a", f"{place}/deep/b"]
    assert list(stores_below(f"{place}/a")) == [f"{place}/a"]
    assert len(json.loads(CliRunner().invoke(cli, ["ls", place, "--json"]).stdout)) == 2


def test_half_uploads_go_and_an_object_of_the_same_name_stays(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place, key = f"s3://{BUCKET}/half", "children/0123/model.safetensors"
    x = experiment()
    store = open_store(place)
    claim(x.model_copy(update={"where": x.where.model_copy(update={"store": place})}), store)
    store.create(key, b"whole")
    upload = s3.client().create_multipart_upload(Bucket=BUCKET, Key=f"half/{key}")["UploadId"]
    part = {"Bucket": BUCKET, "Key": f"half/{key}", "UploadId": upload, "PartNumber": 1, "Body": b"half"}
    s3.client().upload_part(**part)
    assert list(store.stale()) == [], "somebody may be uploading it"
    monkeypatch.setattr("darwinmerge.store.s3.STALE", timedelta(0))
    found = json.loads(CliRunner().invoke(cli, ["gc", place, "--json", "--yes"]).stdout)
    assert found["objects"] == [{"key": key, "size": 4, "why": "half written, a day old"}]
    assert list(store.stale()) == []
    assert store.read(key) == b"whole"

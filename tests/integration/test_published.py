"""A child at its output: who reads a run takes it as its store tells it, who goes on sees whether it's still there."""

import json
import shutil

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.claim import recorded
from darwinmerge.pipeline.orders import Message, Orders, order
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.tasks import Task
from darwinmerge.store import layout, open_store
from darwinmerge.uri import CLAIMS
from tests.integration.conftest import World, darwin
from tests.integration.test_refusals import copied


def experiment(world: World) -> Experiment:
    return experiment_of(load(world.manifest), world.folder)


def told(world: World) -> dict[str, object]:
    shown = darwin("show", world.store, "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, object] = json.loads(shown.stdout)
    return found


@pytest.fixture
def publication(world: World, undisturbed: World, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The undisturbed run with a claim for its output, where its child has been published by this task."""
    (world.folder / "claim").mkdir()
    monkeypatch.setenv(CLAIMS, str(world.folder))
    copied(undisturbed, world).edit("output", value={"uri": "pvc://claim/child"})
    x = experiment(world)
    (task,) = plan(x, recorded(open_store(x.where.store))).ready
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (world.folder / "claim/child" / layout.CHILD_RECORD).exists()
    return task


def answer(world: World, command: str, orders: Orders) -> Message:
    """What a pod answers to orders."""
    (world.folder / "orders").write_text(orders.model_dump_json(by_alias=True))
    done = darwin(command, "--orders", world.folder / "orders", "--message", world.folder / "message")
    assert done.returncode == 0, done.stdout + done.stderr
    return Message.model_validate_json((world.folder / "message").read_bytes())


@pytest.mark.usefixtures("publication")
def test_a_run_is_complete_for_whoever_reads_it_wherever_its_child_has_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / "claim/child").rename(world.folder / "elsewhere")
    assert told(world)["state"] == "Complete"
    monkeypatch.delenv(CLAIMS)
    assert told(world)["state"] == "Complete", "its output can't be reached from here"
    assert [run["state"] for run in json.loads(darwin("ls", world.folder, "--json").stdout)] == ["Complete"]
    assert darwin("gc", world.store).returncode == 0


@pytest.mark.usefixtures("publication")
def test_a_child_on_a_claim_is_where_the_manifest_says_for_whoever_reads_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(world)["child"] == "pvc://claim/child"
    assert json.loads((world.store / layout.SUMMARY).read_text())["child"]["path"] == "pvc://claim/child"
    assert "/mnt/pvc/claim/child" in (world.store / layout.REPORT).read_text()
    monkeypatch.delenv(CLAIMS)
    assert told(world)["child"] == "pvc://claim/child"


def test_a_place_that_may_not_be_written_to_is_named_with_what_helps(world: World, undisturbed: World) -> None:
    copied(undisturbed, world).edit("output", value={"uri": "/sys/child"})  # where not even root makes a folder
    run = darwin("run", world.manifest)
    assert run.returncode == ExitCode.BAD_CONFIGURATION
    assert "spec.output.uri: user " in run.stderr
    assert "can't make a folder in /sys (" in run.stderr
    assert "the right to write there, or choose another place" in run.stderr


@pytest.mark.usefixtures("publication")
def test_who_goes_on_publishes_again_what_is_gone(world: World) -> None:
    shutil.rmtree(world.folder / "claim/child")
    kept = world.objects()
    dry = json.loads(darwin("run", world.manifest, "--dry-run", "--json").stdout)
    assert dry["outcome"] is None
    assert len(dry["next"]) == 1
    assert world.objects() == kept, "looking changes nothing"
    assert darwin("run", world.manifest).returncode == 0
    assert (world.folder / "claim/child" / layout.CHILD_RECORD).exists()


def test_a_cluster_that_begins_anew_publishes_again_what_is_gone(world: World, publication: Task) -> None:
    x = experiment(world)
    asked = Orders(where=x.where, claim=x, orders=(order(publication),))
    assert [result.task for result in answer(world, "recall", asked).results] == [publication.id]
    shutil.rmtree(world.folder / "claim/child")
    assert answer(world, "recall", asked).results == ()
    assert len(answer(world, "work", Orders(where=x.where, orders=(order(publication),))).results) == 1
    assert (world.folder / "claim/child" / layout.CHILD_RECORD).exists()


@pytest.mark.usefixtures("publication")
def test_a_child_that_goes_before_the_summary_is_written_leaves_the_run_ended(world: World) -> None:
    x = experiment(world)
    shutil.rmtree(world.folder / "claim/child")
    answer(world, "work", Orders(where=x.where, finish=x))
    assert json.loads((world.store / layout.SUMMARY).read_text())["outcome"]["kind"] == "Complete"

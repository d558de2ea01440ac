"""Two runners on one store: two laptops, a laptop and a cluster. They may compute twice, and end as a lone one does."""

import hashlib
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.claim import claim, held
from darwinmerge.pipeline.orders import Order, Orders, order
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import Done
from darwinmerge.pipeline.retention import spent
from darwinmerge.pipeline.tasks import LinearModel, ScoreInputs, Task
from darwinmerge.publish.copy import to_folder
from darwinmerge.publish.staged import drop
from darwinmerge.report.summary import RunSummary
from darwinmerge.store import FileStore, Ref, Stat, Store, layout, open_store, stored_ref
from tests.integration.conftest import World, command, lasting, make_world
from tests.integration.test_kill import wait_until
from tests.s3 import BUCKET

pytestmark = pytest.mark.timeout(600)

KILLS = 4
OBJECTS = 110  # a whole run leaves a few more


class Laptop:
    """A machine with a manifest of its own, and `darwin run` of it, as often as it takes."""

    def __init__(self, folder: Path, material: Path, store: str) -> None:
        self.world = make_world(folder, material)
        self.world.edit("store", "uri", value=store)
        self.start()

    def start(self) -> None:
        with (self.world.folder / "stdout").open("w") as out, (self.world.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                command("run", self.world.manifest, "--json"), stdout=out, stderr=errors, start_new_session=True
            )

    def crash(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def ended(self) -> RunSummary:
        code = self.process.wait()
        assert code == 0, (self.world.folder / "stderr").read_text()
        return RunSummary.model_validate_json((self.world.folder / "stdout").read_text())


@pytest.fixture(params=["a folder", "S3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that nobody has written to."""
    if request.param == "a folder":
        return str(tmp_path / "shared")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/runs/{tmp_path.name}"


@pytest.mark.slow
def test_two_laptops_one_of_them_killed_again_and_again_end_as_a_lone_one(
    shared: str, undisturbed: World, material: Path, tmp_path: Path
) -> None:
    store, rng = open_store(shared), random.Random(11)
    laptops = [Laptop(tmp_path / name, material, shared) for name in ("first", "second")]
    for point in sorted(rng.sample(range(OBJECTS), KILLS)):
        wait_until(lambda point=point: not laptops[1].running or len(list(store.list(""))) > point)
        assert laptops[1].running
        laptops[1].crash()
        laptops[1].start()
    summaries = [laptop.ended() for laptop in laptops]
    assert lasting(store) == undisturbed.objects()
    there = RunSummary.model_validate_json((undisturbed.store / layout.SUMMARY).read_text())
    assert there.child
    for summary in summaries:
        assert summary.child
        assert (summary.verdict, summary.child.files) == (there.verdict, there.child.files)

    for laptop in laptops:
        laptop.world.edit("output", "uri", value=str(tmp_path / "child"))
        laptop.start()
    for laptop in laptops:
        laptop.ended()
    assert {"child", "first", "second"} == {path.name for path in tmp_path.iterdir()} - {"shared"}
    written = {name: hashlib.sha256((tmp_path / "child" / name).read_bytes()) for name in there.child.files}
    assert {name: sha.hexdigest() for name, sha in written.items()} == there.child.files


def pods(world: World) -> None:
    """What a cluster does: from one look at the results to the next, a pod for each step, merges apart from scores."""
    x, store = experiment_of(load(world.manifest), world.folder), open_store(str(world.store))

    def pod(*orders: Order) -> None:
        given = Orders(where=x.where, claim=x, orders=orders, drop=spent(x, held(x, store)))
        (world.folder / "orders").write_text(given.model_dump_json(by_alias=True))
        done = subprocess.run(
            command("work", "--orders", world.folder / "orders"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout

    while ready := plan(x, held(x, store)).ready:
        scores = [task for task in ready if task.stage == "score"]
        if scores:
            pod(*(order(task, part="merge") for task in scores))
            pod(*(order(task, part="evaluate") for task in scores))
        else:
            pod(*map(order, ready))
    pod()


@pytest.mark.slow
def test_a_laptop_and_a_cluster_end_as_a_lone_one(world: World, undisturbed: World) -> None:
    with ThreadPoolExecutor(1) as cluster:
        there = cluster.submit(pods, world)
        laptop = subprocess.run(command("run", world.manifest), capture_output=True, text=True, check=False)
        there.result()
    assert laptop.returncode == 0, laptop.stderr
    assert world.objects() == undisturbed.objects()


# ---- what it takes, moment by moment


class Meanwhile(FileStore):
    """A store in which somebody else does something right after an object was looked for."""

    def __init__(self, root: Path, key: str, other: Callable[[], object]) -> None:
        super().__init__(root)
        self._key, self._other = key, other

    def head(self, key: str) -> Stat | None:
        found = super().head(key)
        if key == self._key:
            self._key = ""
            self._other()
        return found


def test_a_store_that_another_runner_claims_at_the_same_moment_is_ours_too(world: World) -> None:
    x = experiment_of(load(world.manifest), world.folder)

    def other() -> None:
        claim(x, FileStore(world.store))
        FileStore(world.store).create("digests/0.json", b"{}")  # it comes before experiment.json in the list

    assert claim(x, Meanwhile(world.store, layout.EXPERIMENT, other)) == {}


@pytest.fixture
def scoring(undisturbed: World, tmp_path: Path) -> tuple[Experiment, Task]:
    """The undisturbed run's experiment and its first task that scores the plain average."""
    x = experiment_of(load(undisturbed.manifest), undisturbed.folder)
    results = held(x, FileStore(undisturbed.store))
    known = {
        task: result for task, result in results.items() if isinstance(result, Done) and result.summary.stage != "score"
    }
    tasks = plan(x, known).ready
    return x, next(t for t in tasks if isinstance(t.inputs, ScoreInputs) and isinstance(t.inputs.model, LinearModel))


def test_a_staged_child_that_another_runner_drops_while_it_is_read_is_merged_again(
    scoring: tuple[Experiment, Task], undisturbed: World, tmp_path: Path
) -> None:
    x, task = scoring
    inputs = task.inputs
    assert isinstance(inputs, ScoreInputs)
    there = FileStore(undisturbed.store)
    own = FileStore(tmp_path)
    own.create(layout.table(inputs.table), there.read(layout.table(inputs.table)))

    def weights(store: Store) -> dict[str, bytes]:
        place = Place(x.where, store, threading.Event(), lambda done, total: None)
        recipe = place.recipe(inputs.model, inputs.table, inputs.pins, inputs.mixing, task.seed)
        index = layout.staged(recipe.id) + "model.safetensors.index.json"
        if isinstance(store, Meanwhile):
            place.stage(recipe, inputs.pins)
            store._key, store._other = index, lambda: drop(own, (recipe.id,))
        model = place.embodied(recipe, inputs.terms, inputs.pins).model
        return {name: weight.float().numpy().tobytes() for name, weight in model.state_dict().items()}

    assert weights(Meanwhile(tmp_path, "", lambda: None)) == weights(own)


def test_of_two_that_publish_into_one_folder_at_the_same_moment_both_leave_the_child_whole(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    names = [f"model-{number}.safetensors" for number in range(20)]
    for name in names:
        store.create(name, name.encode() * 1000)
    gate = threading.Barrier(2)

    def publish(_: int) -> None:
        def told(done: int, total: int) -> None:
            if done == 1:
                gate.wait()

        place = Place(None, store, threading.Event(), told)  # type: ignore[arg-type]
        files: dict[str, Ref] = {name: stored_ref(store, name) for name in names}
        to_folder(files, tmp_path / "child", place)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(publish, range(2)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "child").iterdir()} == {
        name: name.encode() * 1000 for name in names
    }
    assert {path.name for path in tmp_path.iterdir()} == {"store", "child"}


def test_a_published_child_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, place, target = FileStore(tmp_path / "store"), tmp_path / "out", tmp_path / "out/child"
    store.create("model.safetensors", b"weights")
    synced: list[tuple[int, bool]] = []  # inodes, and whether the child had its name by then
    fsync = os.fsync

    def told(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, target.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", told)
    at = Place(None, store, threading.Event(), lambda *_: None)  # type: ignore[arg-type]
    to_folder({"model.safetensors": stored_ref(store, "model.safetensors")}, target, at)
    paths = (target / "model.safetensors", target, place)
    assert synced == [(path.stat().st_ino, path == place) for path in paths]

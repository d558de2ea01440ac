"""A child that is published to S3: whole or not at all, whatever happens on the way, and never over anything else."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.folder import INDEX
from darwinmerge.errors import BadConfiguration, BadInput, Interrupted, StoreUnreachable
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.experiment.places import require_places
from darwinmerge.pipeline.claim import held
from darwinmerge.pipeline.orders import Orders
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.tasks import ExportInputs, PublishInputs, mixing_of
from darwinmerge.publish.export import export
from darwinmerge.publish.place import standing
from darwinmerge.publish.task import publish
from darwinmerge.report.summary import RunSummary
from darwinmerge.s3 import client
from darwinmerge.search.genome import Genome
from darwinmerge.store import layout, open_store
from darwinmerge.store.s3 import PART
from tests.integration.conftest import World, darwin
from tests.integration.test_refusals import copied
from tests.s3 import BUCKET, S3, free_ports

pytestmark = pytest.mark.timeout(300)

WEIGHTS = "model-00001-of-00001.safetensors"
READ = 100_000  # bytes at a time here, so that the tiny child's weights take several


class Killed(BaseException):
    """The end of a process, as far as its code can tell."""


@dataclass
class Output:
    """A finished experiment with a place in S3 for its child, and another child of it that is not the winner."""

    behind: Any  # a client that may do everything
    x: Experiment
    prefix: str
    winner: PublishInputs
    other: PublishInputs

    def publish(self, child: PublishInputs, tell: Callable[[int, int], None] = lambda *_: None) -> None:
        publish(child, Place(self.x.where, open_store(self.x.where.store), threading.Event(), tell))

    def exported(self, child: PublishInputs) -> dict[str, bytes]:
        """The child in the store."""
        folder = Path(self.x.where.store) / layout.child(child.recipe)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def objects(self) -> dict[str, bytes]:
        """What lies at the output, hidden things included."""
        found = self.behind.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/").get("Contents", [])
        keys = [each["Key"] for each in found]
        return {
            key[len(self.prefix) + 1 :]: self.behind.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys
        }

    def put(self, name: str, data: bytes) -> None:
        self.behind.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}", Body=data)

    def clear(self) -> None:
        for name in self.objects():
            self.behind.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}")

    def holds(self, child: PublishInputs) -> bool:
        """Whether the child lies there file by file and nothing else does; the times that it tells may be earlier."""
        there, expected = self.objects(), self.exported(child)
        times = json.loads(there.get(layout.CHILD_RUN, b"{}")).get("published")
        run = json.loads(expected[layout.CHILD_RUN]) | {"published": times}
        return there == expected | {layout.CHILD_RUN: json.dumps(run, indent=1).encode()}

    def require_whole_or_none(self) -> None:
        """What Darwin takes for whole is one child file by file, and what others would load has the weights of one."""
        recipe, there = standing(self.x.where.output).whole, self.objects()
        assert recipe in ("", self.winner.recipe, self.other.recipe)
        if recipe:
            assert self.holds(self.winner if recipe == self.winner.recipe else self.other)
        if INDEX in there:
            assert weights(there) in [weights(self.exported(child)) for child in (self.winner, self.other)]


def weights(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name == INDEX or name.endswith(".safetensors")}


@pytest.fixture
def output(s3: S3, world: World, undisturbed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Output:
    """The undisturbed run, its output in S3."""
    monkeypatch.setattr("darwinmerge.publish.copy.BLOCK", READ)
    prefix = f"models/{tmp_path.name}"
    copied(undisturbed, world).edit("output", value={"uri": f"s3://{BUCKET}/{prefix}"})
    x = experiment_of(load(world.manifest), world.folder)
    return Output(s3.client(), x, prefix, *children_of(x))


def children_of(x: Experiment) -> tuple[PublishInputs, PublishInputs]:
    """The publication that a finished run has yet to do, and one of another child of it, which is exported first."""
    store = open_store(x.where.store)
    seen = walk(x, held(x, store))
    (task,) = seen.ready
    assert isinstance(task.inputs, PublishInputs)
    assert seen.resolved
    assert seen.mri
    asked = ExportInputs(
        pins=seen.resolved.pins,
        table=seen.mri.table,
        mixing=mixing_of(x.spec),
        genome=Genome.of([0.4] * 6),
        max_shard_size="600KB",  # so that it has files that the winner has not
    )
    made, _ = export(asked, x.spec.seed, Place(x.where, store, threading.Event(), lambda *_: None))
    return task.inputs, task.inputs.model_copy(update={"recipe": made.recipe, "weights": made.weights})


@contextmanager
def writing(happens: Callable[[list[str]], None] = lambda _: None) -> Iterator[list[str]]:
    """This process's writes to S3; before each one is sent, something may happen that depends on them all."""
    writes: list[str] = []

    def listen(model: Any, params: dict[str, Any], **_: Any) -> None:
        if params["method"] in ("PUT", "POST", "DELETE"):
            writes.append(f"{model.name} {params['url_path'].partition('?')[0].rpartition('/')[2]}")
            happens(writes)

    client().meta.events.register("before-call.s3", listen)
    try:
        yield writes
    finally:
        client().meta.events.unregister("before-call.s3", listen)


def at(number: int, act: Callable[[], None]) -> Callable[[list[str]], None]:
    """Do it at the write of that number, counted from 1."""
    return lambda writes: act() if len(writes) == number else None


def die() -> None:
    raise Killed


def test_a_published_child_is_the_store_s_file_by_file_and_there_is_nothing_beside_it(output: Output) -> None:
    output.publish(output.winner)
    assert output.objects() == output.exported(output.winner)
    assert {WEIGHTS, "config.json", "README.md", layout.CHILD_RECORD} < output.objects().keys()


def test_a_child_that_is_there_is_not_copied_again(output: Output) -> None:
    output.publish(output.winner)
    with writing() as writes:
        output.publish(output.winner)
    assert writes == [f"PutObject {layout.CHILD_RUN}"]  # which the server refuses
    assert output.holds(output.winner)


def test_a_newer_child_replaces_an_older_one_and_leaves_nothing_of_it(output: Output) -> None:
    output.publish(output.other)
    assert output.objects() == output.exported(output.other)
    output.publish(output.winner)
    assert output.objects() == output.exported(output.winner)


@pytest.mark.parametrize("over", [False, True], ids=["over nothing", "over an older child"])
def test_wherever_it_ends_what_is_taken_for_whole_is_whole_and_it_goes_on(output: Output, over: bool) -> None:
    def arrange() -> None:
        output.clear()
        if over:
            output.publish(output.other)

    arrange()
    with writing() as writes:
        output.publish(output.winner)
    assert len(writes) > len(output.exported(output.winner))
    for number in range(1, len(writes) + 1):
        arrange()
        with writing(at(number, die)), pytest.raises(Killed):
            output.publish(output.winner)
        output.require_whole_or_none()
        output.publish(output.winner)
        assert output.holds(output.winner)


def test_of_two_children_at_once_no_mixture_is_taken_for_whole(output: Output) -> None:
    with writing() as writes:
        output.publish(output.winner)
    for number in range(1, len(writes) + 1):
        output.clear()
        with writing(at(number, lambda: output.publish(output.other))), suppress(StoreUnreachable):
            output.publish(output.winner)
        output.require_whole_or_none()
        output.publish(output.winner)
        assert output.holds(output.winner)


KILLED = """
import os, signal, sys, threading
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.tasks import PublishInputs
from darwinmerge.publish.task import publish
from darwinmerge.store import open_store

def tell(done, total):
    if done == total - int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

where = Bindings.model_validate_json(sys.argv[1])
publish(PublishInputs.model_validate_json(sys.argv[2]), Place(where, open_store(where.store), threading.Event(), tell))
"""


def test_after_a_kill_only_what_was_not_copied_is_copied(output: Output) -> None:
    given = [part.model_dump_json(by_alias=True) for part in (output.x.where, output.winner)]
    run = subprocess.run([sys.executable, "-c", KILLED, *given, "2"], check=False)
    assert run.returncode == -signal.SIGKILL
    assert standing(output.x.where.output).whole == ""
    with writing() as writes:
        output.publish(output.winner)
    assert writes == [f"PutObject {name}" for name in (layout.CHILD_RUN, INDEX, layout.CHILD_RECORD)]
    assert output.holds(output.winner)


def test_asked_to_stop_it_stops_in_the_middle_of_a_file_and_leaves_no_part_of_it(output: Output) -> None:
    large = Path(output.x.where.store) / layout.child(output.winner.recipe) / "vocab.txt"
    large.write_bytes(random.Random(0).randbytes(3 * PART))
    stop = threading.Event()
    place = Place(output.x.where, open_store(output.x.where.store), stop, lambda *_: None)
    begun = "CreateMultipartUpload vocab.txt"
    with writing(lambda writes: stop.set() if writes[-1] == begun else None) as writes, pytest.raises(Interrupted):
        publish(output.winner, place)
    assert begun in writes
    assert "vocab.txt" not in output.objects()
    assert "Uploads" not in output.behind.list_multipart_uploads(Bucket=BUCKET, Prefix=output.prefix)
    output.publish(output.winner)
    assert output.objects()["vocab.txt"] == large.read_bytes()


def test_a_file_with_other_bytes_is_put_right(output: Output) -> None:
    output.publish(output.winner)
    output.put(WEIGHTS, bytes(len(output.objects()[WEIGHTS])))
    output.publish(output.winner)
    assert output.holds(output.winner)


def test_a_child_that_is_damaged_in_the_store_is_not_published(output: Output) -> None:
    weights = Path(output.x.where.store) / layout.child(output.winner.recipe) / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadInput, match=f"{WEIGHTS} was changed after it was exported"):
        output.publish(output.winner)
    assert not {INDEX, layout.CHILD_RECORD} & output.objects().keys()


# ---- what isn't ours


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt", INDEX, layout.CHILD_RECORD, layout.CHILD_RUN])
def test_an_object_in_the_way_is_named_before_anything_is_computed_and_left_as_it_is(
    output: Output, world: World, name: str
) -> None:
    output.put(name, b"mine")
    with pytest.raises(BadConfiguration, match=f"{output.x.where.output} holds what is not a child .*{name}"):
        require_places(output.x)
    with pytest.raises(BadConfiguration, match=name):
        output.publish(output.winner)
    assert output.objects() == {name: b"mine"}


def test_an_object_beside_the_child_stays_and_so_does_the_child(output: Output) -> None:
    output.publish(output.other)
    output.put("notes.txt", b"mine")
    before = output.objects()
    with pytest.raises(BadConfiguration, match=r"notes\.txt"):
        output.publish(output.winner)
    assert output.objects() == before


@pytest.mark.parametrize("theirs", [{"experiment": "another"}, {"store": "s3://another/store"}], ids=["name", "store"])
def test_a_child_of_another_experiment_stays(output: Output, theirs: dict[str, str]) -> None:
    output.publish(output.other)
    output.put(layout.CHILD_RUN, json.dumps(json.loads(output.objects()[layout.CHILD_RUN]) | theirs).encode())
    before = output.objects()
    with pytest.raises(BadConfiguration, match="holds what is not a child of this experiment"):
        output.publish(output.winner)
    assert output.objects() == before


@pytest.mark.parametrize("uri", [f"s3://bucket{rest}" for rest in ("/runs/a", "/runs/a/child", "/runs", "")])
@pytest.mark.parametrize("field", ["father", "mother", "store"])
def test_an_output_within_what_it_is_made_from_or_around_it(world: World, uri: str, field: str) -> None:
    x = experiment_of(load(world.manifest), world.folder)
    where = x.where.model_copy(update={field: "s3://bucket/runs/a", "output": uri})
    with pytest.raises(
        BadConfiguration, match=rf"output.uri: {uri} overlaps spec\..*{field}.*choose a place of its own"
    ):
        require_places(x.model_copy(update={"where": where}))


def test_places_of_one_bucket_that_only_begin_alike_do_not_overlap(output: Output) -> None:
    where = output.x.where.model_copy(update={"store": f"{output.x.where.output}-store"})
    require_places(output.x.model_copy(update={"where": where}))


# ---- as drivers do it


def test_darwin_run_publishes_says_where_and_does_it_again_where_somebody_removed_a_part(
    output: Output, world: World
) -> None:
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    assert output.objects() == output.exported(output.winner)
    summary = RunSummary.model_validate_json((world.store / layout.SUMMARY).read_bytes())
    assert summary.child
    assert summary.child.path == output.x.where.output
    client().delete_object(Bucket=BUCKET, Key=f"{output.prefix}/{WEIGHTS}")
    assert darwin("run", world.manifest).returncode == 0
    assert output.holds(output.winner)


def test_recall_refuses_an_output_that_is_not_free_for_a_driver_that_can_not_look(
    output: Output, tmp_path: Path
) -> None:
    output.put("notes.txt", b"mine")
    orders = tmp_path / "orders.json"
    orders.write_text(Orders(where=output.x.where, claim=output.x).model_dump_json(by_alias=True))
    run = darwin("recall", "--orders", orders)
    assert run.returncode == 78
    assert "notes.txt" in run.stderr


@pytest.mark.usefixtures("s3")
def test_an_output_that_does_not_answer_stops_a_run_before_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    world.edit("output", value={"uri": f"s3://{BUCKET}/child"})
    run = darwin("run", world.manifest)
    assert run.returncode == 69
    assert f"s3://{BUCKET}/child" in run.stderr
    assert not world.store.exists()

"""`darwin work`, pod by pod, as a driver without hands on the store would use it: orders in, messages out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.orders import Message, Order, Orders, order
from darwinmerge.pipeline.plan import plan, walk
from darwinmerge.pipeline.results import Result, TaskId
from darwinmerge.pipeline.retention import spent
from darwinmerge.pipeline.tasks import REVISIONS, ResolveInputs, Task
from tests.integration.conftest import World, command, darwin

NO_TORCH = (
    "import sys; sys.modules['torch'] = None; sys.argv[0] = 'darwin'; from darwinmerge.cli.main import main; main()"
)


class Pods:
    """Drives an experiment by orders and messages alone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.x: Experiment = experiment_of(load(world.manifest), world.folder)
        self.results: dict[TaskId, Result] = {}
        self.done = False
        self._pods = 0

    def files(self) -> tuple[Path, Path]:
        self._pods += 1
        return self.world.folder / f"orders-{self._pods}.json", self.world.folder / f"message-{self._pods}.json"

    def start(self, *orders: Order, torch: bool = True) -> tuple[subprocess.Popen[str], Path]:
        given, message = self.files()
        first = None if self.results else self.x  # the first pod of all makes the store the experiment's
        found = Orders(where=self.x.where, claim=first, orders=orders, drop=spent(self.x, self.results))
        given.write_text(found.model_dump_json(by_alias=True))
        program = command() if torch else [sys.executable, "-c", NO_TORCH]
        arguments = ["work", "--orders", str(given), "--message", str(message)]
        return subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE, text=True), message

    def do(self, *orders: Order, torch: bool = True) -> Message:
        pod, message = self.start(*orders, torch=torch)
        out, _ = pod.communicate(timeout=300)
        assert pod.returncode == 0, out
        heard = Message.model_validate_json(message.read_bytes())
        self.results |= {result.task: result for result in heard.results}
        return heard

    def ready(self) -> tuple[Task, ...]:
        now = plan(self.x, self.results)
        self.done = now.outcome is not None
        return now.ready

    def before(self, generation: int) -> bool:
        """Whether a generation hasn't begun."""
        return len(walk(self.x, self.results).generations) < generation

    def until(self, stage: str) -> Task:
        """Do whatever comes before the first task of `stage`."""
        while True:
            ready = self.ready()
            found = [task for task in ready if task.stage == stage]
            if found:
                return found[0]
            self.do(*map(order, ready))


def events(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def pods(world: World) -> Pods:
    return Pods(world)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_merging_and_scoring_in_two_pods_give_what_one_process_gives(
    pods: Pods, undisturbed: World, whole: bool
) -> None:
    """The whole run, or its first generation."""
    while (ready := pods.ready()) and (whole or pods.before(2)):
        scores = [task for task in ready if task.stage == "score"]
        others = [task for task in ready if task.stage != "score"]
        if scores:
            pods.do(*(order(task, part="merge") for task in scores), torch=False)
            pods.do(*(order(task, part="evaluate") for task in scores))
        if others:
            pods.do(*map(order, others))
    pods.do()
    found, there = pods.world.objects(), undisturbed.objects()
    if whole:
        assert not [key for key in found if key.startswith("staged/")]
        assert found == there
    else:
        same = {key: data for key, data in found.items() if not key.startswith("staged/")}
        assert sum(key.startswith("results/score-") for key in same) == 6
        assert same.items() <= there.items()


def test_diagnosis_and_merge_do_without_torch(pods: Pods) -> None:
    pods.do(*map(order, pods.ready()))
    assert pods.do(order(pods.until("mri")), torch=False).told == 1


def test_a_scoring_pod_that_is_asked_to_stop_goes_on_after_its_last_chunk(pods: Pods) -> None:
    task = pods.until("score")
    pod, message = pods.start(order(task))
    while len(list(pods.world.store.glob("scores/*/*/*.json"))) < 1:
        assert pod.poll() is None
        time.sleep(0.01)
    pod.send_signal(signal.SIGTERM)
    out, _ = pod.communicate(timeout=10)
    chunks = {path: path.stat().st_mtime_ns for path in pods.world.store.glob("scores/*/*/*.json")}
    heard = Message.model_validate_json(message.read_bytes())
    assert pod.returncode == ExitCode.INTERRUPTED
    assert heard.failed and (heard.failed.exit, heard.failed.task) == (ExitCode.INTERRUPTED, task.id)
    assert events(out)[-1]["exit"] == ExitCode.INTERRUPTED
    assert pods.do(order(task)).told == 1
    assert all(path.stat().st_mtime_ns == when for path, when in chunks.items())


def test_a_pod_that_is_asked_to_stop_before_it_began_is_interrupted_too(tmp_path: Path) -> None:
    orders = tmp_path / "orders"
    os.mkfifo(orders)
    pod = subprocess.Popen(command("work", "--orders", orders))
    with orders.open("w"):  # it is open once the pod waits for its orders
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(timeout=10) == ExitCode.INTERRUPTED


def test_the_log_outlives_the_pod(pods: Pods) -> None:
    task = pods.ready()[0]
    pod, _ = pods.start(order(task))
    out, _ = pod.communicate(timeout=60)
    (kept,) = pods.world.store.glob(f"logs/resolve-{task.id[:16]}/*.jsonl")
    assert kept.read_text() == out
    assert [event["event"] for event in events(out)] == ["start", "done", "end"]


def test_a_task_of_another_version_is_refused_by_its_id(pods: Pods) -> None:
    other = Task(revision=REVISIONS["resolve"] + 1, seed=0, inputs=ResolveInputs())
    pod, message = pods.start(order(other))
    pod.communicate(timeout=60)
    heard = Message.model_validate_json(message.read_bytes())
    assert pod.returncode == ExitCode.VERSION_SKEW
    assert heard.failed and "run driver and worker in one version" in heard.failed.message


def test_a_failure_keeps_the_results_before_it(pods: Pods) -> None:
    good, bad = pods.ready()[0], Task(revision=REVISIONS["resolve"] + 1, seed=0, inputs=ResolveInputs())
    pod, message = pods.start(order(good), order(bad))
    pod.communicate(timeout=60)
    heard = Message.model_validate_json(message.read_bytes())
    assert [result.task for result in heard.results] == [good.id]
    assert heard.failed and heard.failed.task == bad.id


@pytest.mark.parametrize("orders", ["", "{}", "[", '{"where": {}, "orders": [], "hurry": 1}'])
def test_orders_that_are_none_are_refused_in_a_line(tmp_path: Path, orders: str) -> None:
    (tmp_path / "orders").write_text(orders)
    run = darwin("work", "--orders", tmp_path / "orders")
    assert run.returncode in (ExitCode.BAD_CONFIGURATION, ExitCode.VERSION_SKEW)
    assert run.stderr.startswith("error: ")


def pages(world: World, tasks: list[Task]) -> Iterator[Message]:
    """Ask `darwin recall` until all tasks are told of."""
    x = experiment_of(load(world.manifest), world.folder)
    while tasks:
        file = world.folder / "recall.json"
        file.write_text(Orders(where=x.where, orders=tuple(map(order, tasks))).model_dump_json(by_alias=True))
        run = darwin("recall", "--orders", file)
        assert run.returncode == 0, run.stderr
        assert len(run.stdout.encode()) <= 4097
        message = Message.model_validate_json(run.stdout)
        tasks = tasks[message.told :]
        yield message


def test_recall_leads_a_driver_without_a_ledger_to_the_end_and_computes_nothing(undisturbed: World) -> None:
    x = experiment_of(load(undisturbed.manifest), undisturbed.folder)
    before, results, asked = undisturbed.objects(), dict[TaskId, Result](), 0
    while ready := plan(x, results).ready:
        for message in pages(undisturbed, list(ready)):
            results |= {result.task: result for result in message.results}
            asked += 1
    assert plan(x, results).outcome
    assert asked > 5
    assert undisturbed.objects() == before


def test_recall_tells_of_what_the_store_has_not_without_a_result(world: World, undisturbed: World) -> None:
    unknown = Task(revision=REVISIONS["resolve"], seed=99, inputs=ResolveInputs())
    (message,) = pages(undisturbed, [unknown])
    assert (message.told, message.results) == (1, ())

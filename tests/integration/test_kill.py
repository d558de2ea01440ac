"""kill -9 of runner and worker at many points, found by listening to the store; then the same command."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import World, command

# Where to strike: the first object under this prefix that a run adds (and how many of them), and whom.
POINTS = (
    ("experiment.json", 1, "runner"),
    ("results/resolve-", 1, "runner"),
    ("rows/", 1, "worker"),
    ("tables/", 1, "runner"),
    ("results/search-", 1, "worker"),
    ("scores/", 1, "runner"),
    ("scores/", 3, "worker"),
    ("results/score-", 2, "runner"),
    ("generations/0001", 1, "worker"),
    ("results/score-", 4, "runner"),
    ("generations/0002", 1, "runner"),
    ("scores/", 34, "worker"),
    ("answers/", 10, "runner"),
    ("children/", 1, "runner"),
    ("children/", 5, "worker"),
    ("results/score-", 13, "runner"),
    ("health/", 1, "runner"),
    ("results/verdict-", 1, "runner"),
)


class Run:
    """One life of the runner."""

    def __init__(self, world: World) -> None:
        self.stored = set(keys(world.store))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.driver", str(world.manifest), "1"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def workers(self) -> list[int]:
        try:
            return [
                int(pid)
                for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def kill(self, whom: str) -> None:
        victims = [self.process.pid] if whom == "runner" else self.workers()
        orphans = self.workers()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if whom == "runner":
            self.process.wait()
            wait_until(lambda: not any(alive(pid) for pid in orphans))

    def story(self) -> list[dict[str, str]]:
        assert self.process.stdout
        return [json.loads(line) for line in self.process.stdout]


def keys(store: Path) -> Iterator[str]:
    for folder, _, files in os.walk(store):
        for file in files:
            key = Path(folder, file).relative_to(store).as_posix()
            if not key.startswith(".partial/"):
                yield key


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@pytest.mark.parametrize(
    "points", [pytest.param(POINTS[::4], id="some"), pytest.param(POINTS, id="all", marks=pytest.mark.slow)]
)
def test_killed_at_many_points_the_run_ends_with_the_same_bytes(
    points: tuple[tuple[str, int, str], ...], world: World, undisturbed: World
) -> None:
    run = Run(world)
    struck = 0
    for prefix, count, whom in points:

        def reached(prefix: str = prefix, count: int = count, run: Run = run) -> bool:
            there = sum(key.startswith(prefix) for key in keys(world.store))
            return there >= count or run.process.poll() is not None

        wait_until(reached)
        if run.process.poll() is not None:
            break
        run.kill(whom)
        struck += 1
        if whom == "runner":
            for event in run.story():
                assert event.get("started") not in run.stored, "finished work was done again"
            run = Run(world)
    story = run.story()
    assert run.process.wait() == 0
    assert struck >= len(points) - 2  # the last stages take milliseconds: a run may end before it is struck
    assert "outcome" in story[-1]
    assert all(event.get("started") not in run.stored for event in story)
    assert world.objects() == undisturbed.objects()


def test_ctrl_c_stops_within_seconds_and_says_how_to_go_on(world: World) -> None:
    process = subprocess.Popen(
        command("run", world.manifest),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(key.startswith("scores/") for key in keys(world.store)))
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 15
    assert process.returncode == 75
    assert "the same command goes on" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_one_worker_killed_again_and_again_stops_the_run_and_not_the_search(world: World) -> None:
    run = Run(world)
    wait_until(lambda: any(key.startswith("generations/") for key in keys(world.store)))
    killed = 0
    while run.process.poll() is None and killed < 40:
        for pid in run.workers():
            os.kill(pid, signal.SIGKILL)
            killed += 1
        time.sleep(0.05)
    assert run.process.wait() != 0
    scored = [key for key in keys(world.store) if key.startswith("results/score-")]
    assert all(json.loads((world.store / key).read_text())["kind"] == "done" for key in scored)

"""The command `darwin-operator`: what it says of itself and of its health."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import kopf
import pytest
from click.testing import CliRunner

from darwinmerge_operator import health
from darwinmerge_operator.health import DEAD_SECONDS, LAG_SECONDS, WATCH_SECONDS, Health, serve
from darwinmerge_operator.main import operator, watch
from darwinmerge_operator.metrics import Metrics
from darwinmerge_operator.reconcile import merge_patch
from tests.s3 import free_ports


@dataclass
class Loops:
    """The loops of an operator, as slow as a test wants them."""

    lag: float = 0.0
    now: float = 0.0
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def ask(self, path: str = "/healthz", host: str = "127.0.0.1") -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{host}:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def loops() -> Iterator[Loops]:
    found = Loops()
    server = serve(Health(lambda: found.lag, lambda: found.now), Metrics("1.2.3").registry, found.port)
    yield found
    server.shutdown()


def test_an_operator_whose_loops_turn_is_healthy(loops: Loops) -> None:
    assert loops.ask() == (200, "ok\n")
    assert loops.ask("/")[0] == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_it_answers_over_ipv6_as_well(loops: Loops) -> None:
    assert loops.ask(host="[::1]") == loops.ask() == (200, "ok\n")


def test_a_connection_that_asks_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "IDLE_SECONDS", 0.01)
    port = free_ports(1)[0]
    server = serve(Health(lambda: 0.0), Metrics("1").registry, port)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as idle:
        assert idle.recv(1) == b""
    server.shutdown()


def test_metrics_are_told_at_the_same_port(loops: Loops) -> None:
    code, text = loops.ask("/metrics")
    assert (code, 'darwin_operator_build_info{version="1.2.3"} 1.0' in text) == (200, True)


def test_work_that_waits_for_too_long_is_no_health(loops: Loops) -> None:
    loops.lag = LAG_SECONDS + 1
    code, why = loops.ask()
    assert (code, "waited for 181 s" in why) == (503, True)


def test_nor_is_a_watching_loop_that_stands_still(loops: Loops) -> None:
    loops.now = DEAD_SECONDS + 1
    code, why = loops.ask()
    assert (code, "stood still for 61 s" in why) == (503, True)


def test_nor_is_a_loop_that_turns_and_watches_nothing() -> None:
    clock = [0.0]
    watching = Health(lambda: 0.0, lambda: clock[0])
    clock[0] = WATCH_SECONDS + 1
    watching.turn()
    assert "no watch has been begun for 601 s" in watching.trouble()
    watching.watched()
    assert not watching.trouble()


def test_waiting_for_an_api_server_is_health_for_however_long() -> None:
    clock = [0.0]
    waiting = Health(lambda: 0.0, lambda: clock[0])
    clock[0] = max(WATCH_SECONDS, DEAD_SECONDS) + 1
    waiting.waits()
    assert not waiting.trouble()


def test_the_beat_of_the_watching_loop_is_health() -> None:
    clock = [0.0]
    beating = Health(lambda: 0.0, lambda: clock[0])
    clock[0] = DEAD_SECONDS + 1
    assert beating.trouble()

    async def once() -> None:
        task = asyncio.create_task(beating.beat())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(once())
    assert not beating.trouble()


def test_help_teaches() -> None:
    told = CliRunner().invoke(operator, ["--help"]).output
    for words in ("DARWIN_OPERATOR_NAMESPACE", "Examples:", "--port", "charts/darwin-operator"):
        assert words in told


def started(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """The command, in an environment that names no cluster."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "DARWIN"))}
    command = [str(Path(sys.executable).with_name("darwin-operator")), "--worker-image", "x:1"]
    env = {**clean, "HOME": str(folder), **variables}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        _, told = process.communicate(timeout=60)
    assert (process.returncode, "no cluster: neither" in told) == (1, True)


def test_for_an_api_server_it_waits_until_it_is_told_to_stop(tmp_path: Path) -> None:
    server = {"server": f"http://127.0.0.1:{free_ports(1)[0]}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    asked = Loops()
    variables = {"KUBECONFIG": str(tmp_path / "config"), "DARWIN_OPERATOR_PORT": str(asked.port)}
    with started(tmp_path, **variables) as process:
        assert process.stderr
        assert "the API server doesn't answer" in json.loads(process.stderr.readline())["message"]
        assert asked.ask() == (200, "ok\n")  # its kubelet would restart it, else, for another's fault
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in told


@pytest.mark.parametrize("told", [False, True])
def test_a_signal_is_heard_even_where_the_watches_fail_at_that_moment(told: bool) -> None:
    registry = kopf.OperatorRegistry()
    turns: list[None] = []

    @kopf.on.startup(registry=registry)
    async def fail(**_: object) -> None:
        turns.append(None)
        if len(turns) == 1:
            raise kopf.TemporaryError("when all else has started", delay=0.5)
        if told:
            os.kill(os.getpid(), signal.SIGTERM)
        raise kopf.PermanentError("broken")

    handler = signal.getsignal(signal.SIGTERM)
    try:
        with nullcontext() if told else pytest.raises(Exception, match="handlers failed"):
            watch(registry, ("here",))
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": 1}, {}),
    ],
)
def test_a_status_is_written_as_what_has_changed(old: dict[str, object], new: dict[str, object], patch: object) -> None:
    assert json.dumps(merge_patch(old, new)) == json.dumps(patch)

"""However the API server answers, it is asked no more often than is good for it, and never for the last time."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import aiohttp
import pytest
from kopf._cogs.clients.errors import APITooManyRequestsError
from kubernetes import client

from darwinmerge_operator.api import Api, Busy
from darwinmerge_operator.patience import BURST, EACH_SECONDS, MAX_SECONDS, Backoffs, Pace
from darwinmerge_operator.reconcile import Reconciler
from darwinmerge_operator.workqueue import Postponed

WATCH, LIST = ("/pods", True), ("/pods", False)


@dataclass
class Clock:
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_after_errors_kopf_waits_longer_and_longer_and_never_gives_up() -> None:
    waits = list(islice(Backoffs(), 100))
    assert waits[0] < 2 < waits[4]
    assert all(0.8 * MAX_SECONDS <= wait <= 1.2 * MAX_SECONDS for wait in waits[5:])


def test_a_watch_that_is_cut_again_and_again_is_begun_at_a_bounded_rate() -> None:
    clock = Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)

    async def storm() -> None:
        while clock.now < 600:
            await pace.turn(WATCH)
            clock.slept.append(0.0)

    asyncio.run(storm())
    asked = clock.slept.count(0.0)
    assert asked <= BURST + 600 / EACH_SECONDS + 1


def test_what_is_asked_now_and_then_waits_for_nothing_nor_do_other_things() -> None:
    clock = Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)

    async def calm() -> None:
        for _ in range(100):
            clock.now += EACH_SECONDS
            await pace.turn(WATCH)
        for _ in range(BURST - 1):
            await pace.turn(WATCH)
        for _ in range(BURST):
            await pace.turn(LIST)

    asyncio.run(calm())
    assert clock.slept == []


async def asked(port: int, pace: Pace, what: str = "pods?watch=true") -> Exception | int:
    """What a session tells kopf of a watch, or of another request."""
    async with aiohttp.ClientSession(middlewares=[pace]) as session:
        try:
            return (await session.get(f"http://127.0.0.1:{port}/{what}")).status
        except Exception as error:
            return error


@dataclass
class Server:
    """An API server that answers as a test wants it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # in the middle of the body
    asked: int = 0
    api: Any = None
    port: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.cut:
                self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(json.dumps({"message": "said by a test", "items": []}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{listening.server_port}")
        configuration.retries = False
        found.port = listening.server_port
        found.api = Api(client.ApiClient(configuration))
        yield found
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_api_server_asks_for_holds_for_all_requests(server: Server, status: int) -> None:
    server.status, server.headers = status, {"Retry-After": "30"}
    with pytest.raises(ConnectionError, match="said by a test"):
        server.api.jobs("a", "b")
    for _ in range(10):
        with pytest.raises(Busy) as busy:
            server.api.pods("c", "d")
    assert server.asked == 1
    assert 25 < busy.value.seconds <= 30
    with pytest.raises(Postponed) as postponed:
        Reconciler(server.api, "image:1")(("a", "b"))
    assert postponed.value.seconds > 25


def test_without_such_a_wish_the_next_request_is_made(server: Server) -> None:
    server.status = 503
    with pytest.raises(ConnectionError):
        server.api.jobs("a", "b")
    server.status = 200
    assert server.api.jobs("a", "b") == []


def test_a_conflict_is_no_error_but_another_look_later(server: Server) -> None:
    server.status = 409
    with pytest.raises(Postponed, match="changed meanwhile"):
        Reconciler(server.api, "image:1")(("a", "b"))


def test_kopf_hears_of_a_version_that_is_too_old_as_of_what_it_lists_anew_after(server: Server) -> None:
    server.status = 410
    assert isinstance(asyncio.run(asked(server.port, Pace())), APITooManyRequestsError)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_and_of_a_server_in_trouble_as_of_a_broken_connection_after_which_the_watch_waits(
    server: Server, status: int
) -> None:
    clock = Clock()
    pace = Pace(clock=lambda: clock.now, sleep=clock.sleep)
    server.status, server.headers = status, {"Retry-After": "40"}
    assert isinstance(asyncio.run(asked(server.port, pace)), aiohttp.ClientConnectionError)
    server.status, server.headers = 200, {}
    assert asyncio.run(asked(server.port, pace)) == 200
    assert clock.slept == [40.0]


def test_whoever_may_not_watch_is_told_so_in_the_api_servers_words(server: Server) -> None:
    server.status = 403
    assert "said by a test" in str(asyncio.run(asked(server.port, Pace())))


def test_a_namespace_that_may_not_be_read_is_told_once_and_counts_from_the_first_attempt_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    clock, tried, heard = Clock(), list[str](), list[str]()
    pace = Pace(tried=tried.append, heard=heard.append, clock=lambda: clock.now, sleep=clock.sleep)
    asyncio.run(asked(server.port, pace, "namespaces/a/jobs?watch=true"))
    server.status = 403
    for _ in range(3):
        asyncio.run(asked(server.port, pace, "namespaces/b/jobs"))
    assert {*tried} == {"/namespaces/a/jobs", "/namespaces/b/jobs"}
    assert heard == ["/namespaces/a/jobs"]
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("/namespaces/b/jobs can't be read")
    assert told.endswith("said by a test")
    server.status = 200
    asyncio.run(asked(server.port, pace, "namespaces/b/jobs"))
    server.status = 403
    asyncio.run(asked(server.port, pace, "namespaces/b/jobs"))
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def test_each_watch_that_is_tried_is_a_sign_of_life(server: Server) -> None:
    watched: list[bool] = []
    asyncio.run(asked(server.port, Pace(lambda: watched.append(True))))
    assert watched


@pytest.mark.parametrize("what", ["api", "api/v1", "apis", "apis/batch", "apis/batch/v1"])
@pytest.mark.parametrize(("status", "cut"), [(500, False), (429, False), (200, True)])
def test_what_the_api_server_has_to_offer_is_asked_until_it_is_told(
    server: Server, what: str, status: int, cut: bool
) -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.slept) == 3:
            server.status, server.cut = 200, False

    server.status, server.cut = status, cut
    assert asyncio.run(asked(server.port, Pace(clock=lambda: clock.now, sleep=sleep), what)) == 200
    assert server.asked == 4
    assert clock.slept == sorted(clock.slept)

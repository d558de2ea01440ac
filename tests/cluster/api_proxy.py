"""A proxy before the API server, for what a healthy one can't be made to do: refuse, stall, cut, lose an answer.

Plain HTTP on the loopback, without credentials: it uses those of KUBECONFIG, and an operator that a test runs as a
process is given a kubeconfig that leads here.
"""

import contextlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import urllib3
from kubernetes import config

from tests.cluster.outcomes import most_in_a_minute
from tests.proxy import HOP, served

REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
PATIENCE = urllib3.Timeout(connect=5, read=300)


@dataclass(frozen=True)
class Say:
    """Answer instead of the API server."""

    status: int
    retry_after: int | None = None  # seconds

    def body(self) -> bytes:
        """A Status, as the API has it."""
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "said by a test"}
        return json.dumps({**told, "reason": REASONS[self.status], "code": self.status}).encode()


@dataclass(frozen=True)
class Slow:
    """Pass it on, some seconds later."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """Break off in the middle of the answer's body; a watch, after so many seconds."""

    seconds: float = 0.0


@dataclass(frozen=True)
class Lose:
    """Let the API server do it, and hang up before its answer."""


@dataclass(frozen=True)
class Expire:
    """A watch begins with the event that tells that its version is too old."""

    EVENT: ClassVar[dict[str, Any]] = {"type": "ERROR", "object": json.loads(Say(410).body())}


Fault = Say | Slow | Cut | Lose | Expire


@dataclass(frozen=True)
class Rule:
    """What befalls requests, shown as `VERB /path?query`, that match."""

    pattern: str
    faults: tuple[Fault, ...]
    chance: float = 1.0  # of one of the faults
    every: int = 0  # or: the first and then every so many-th request of each sort, by one fault after the other
    met: Counter[str] = field(default_factory=Counter)

    def strikes(self, line: str, dice: random.Random) -> Fault | None:
        """The fault that befalls a request."""
        if not re.search(self.pattern, line):
            return None
        self.met[sort_of(line)] += 1
        if self.every:
            turn, left = divmod(self.met[sort_of(line)] - 1, self.every)
            return None if left else self.faults[turn % len(self.faults)]
        return dice.choice(self.faults) if dice.random() < self.chance else None


def sort_of(line: str) -> str:
    """A request without names and versions: `GET jobs?watch`, `PATCH darwinmerges/status`."""
    verb, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    inside = path.partition("/namespaces/")[2].split("/")[1:] or ["discovery"]
    return f"{verb} {'/'.join(inside[0::2])}{'?watch' if 'watch=true' in query else ''}"


@dataclass
class ApiProxy:
    """What was asked, and what is done to it."""

    endpoint: str = ""
    rules: Sequence[Rule] = ()
    asked: list[tuple[float, str]] = field(default_factory=list)  # when, and the request's line
    struck: list[str] = field(default_factory=list)  # lines of those that a fault befell
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, line: str) -> Fault | None:
        """What is to be done to a request."""
        with self.lock:
            self.asked.append((time.monotonic(), line))
            found = next((fault for rule in self.rules if (fault := rule.strikes(line, self.dice))), None)
            if found:
                self.struck.append(line)
            return found

    def most_in_a_minute(self) -> int:
        """The most requests of any 60 seconds."""
        return most_in_a_minute([when for when, _ in self.asked])

    def kubeconfig(self) -> dict[str, Any]:
        """It leads here."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.endpoint}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }


@contextlib.contextmanager
def api_proxy() -> Iterator[ApiProxy]:
    """A proxy before the API server of KUBECONFIG, until the block ends."""
    found, api = ApiProxy(), config.new_client_from_config()
    server, pool = api.configuration.host, api.rest_client.pool_manager

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = found.next(f"{self.command} {self.path}")
            if isinstance(fault, Say):
                after = [] if fault.retry_after is None else [("Retry-After", str(fault.retry_after))]
                return self.answer(fault.status, [("Content-Type", "application/json"), *after], fault.body())
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in (*HOP, "host")}
            headers["Accept-Encoding"] = "identity"
            url = server + self.path
            said = {"headers": headers, "preload_content": False, "retries": False, "timeout": PATIENCE}
            with contextlib.closing(pool.request(self.command, url, body=body or None, **said)) as answer:
                if "watch=true" in self.path and answer.status == 200:
                    return self.stream(answer, fault)
                data = answer.read()
                if isinstance(fault, Lose):
                    self.close_connection = True
                    return None
                kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP]
                return self.answer(answer.status, kept, data, cut=isinstance(fault, Cut))

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

        def stream(self, answer: Any, fault: Fault | None) -> None:
            """Pass the events of a watch on as they come, for as long as both sides want."""
            self.close_connection = True
            self.head(200, [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])
            if isinstance(fault, Expire):
                self.chunk(json.dumps(fault.EVENT).encode() + b"\n")
                return self.chunk(b"")
            if isinstance(fault, Cut):  # whether or not anything comes meanwhile
                threading.Timer(fault.seconds, self.hang_up).start()
            for data in answer.stream():
                self.chunk(data)
            return self.chunk(b"")

        def hang_up(self) -> None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
            self.head(status, [*headers, ("Content-Length", str(len(body)))])
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

        def head(self, status: int, headers: list[tuple[str, str]]) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        def handle(self) -> None:
            with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):  # either side has gone
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own messages are enough."""

    with served(Handler) as found.endpoint:
        yield found

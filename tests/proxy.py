"""A proxy before the S3 server, for what a healthy server can't be made to do: throttle, cut a body, lose an answer."""

import contextlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Generic, TypeVar
from urllib.parse import urlsplit

HOP = {"connection", "transfer-encoding", "content-length"}  # headers that are of one connection, or made anew


@dataclass(frozen=True)
class Say:
    """Answer instead of the server."""

    status: int
    code: str = ""
    message: str = "said by a test"

    def body(self) -> bytes:
        """The answer's XML."""
        if not self.code:
            return b""
        return f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()


@dataclass(frozen=True)
class Cut:
    """Break off in the middle of the answer's body."""


@dataclass(frozen=True)
class Lose:
    """Let the server do it, and hang up before its answer."""


@dataclass(frozen=True)
class Flip:
    """Change a bit of what is sent to the server."""


Fault = Say | Cut | Lose | Flip


F = TypeVar("F")


@dataclass(kw_only=True)
class Faulty(Generic[F]):
    """What is to be done to requests."""

    faults: list[tuple[re.Pattern[str], F, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, pattern: str, fault: F, times: int = 1_000_000) -> None:
        """Do this to the next requests whose line matches."""
        self.faults.append((re.compile(pattern), fault, times))

    def next(self, line: str) -> F | None:
        """What is to be done to a request."""
        with self.lock:
            for i, (pattern, fault, times) in enumerate(self.faults):
                if times and pattern.search(line):
                    self.faults[i] = (pattern, fault, times - 1)
                    return fault
        return None


@dataclass
class Proxy(Faulty[Fault]):
    """What passes by, and what is done to it."""

    server: str
    endpoint: str = ""
    done: list[str] = field(default_factory=list)  # requests that the server did or refused: `PUT /bucket/key?query`

    def count(self, pattern: str) -> int:
        """How many of the requests that the server did or refused match."""
        return sum(bool(re.search(pattern, line)) for line in self.done)

    def repeated(self, pattern: str) -> list[str]:
        """Those of them that match and were made more than once."""
        return [line for line, times in Counter(self.done).items() if times > 1 and re.search(pattern, line)]


@contextlib.contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Requests to the endpoint that it gives are handled by `handler`, until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


@contextlib.contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    """A proxy before the server at that endpoint, until the block ends."""
    found = Proxy(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            line = f"{self.command} {self.path}"
            fault = found.next(line)
            if isinstance(fault, Say):
                return self.answer(fault.status, [], fault.body())
            if isinstance(fault, Flip) and body:
                body = bytes([body[0] ^ 1]) + body[1:]
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            upstream = http.client.HTTPConnection(urlsplit(found.server).netloc)
            upstream.request(self.command, self.path, body, headers)
            with contextlib.closing(upstream.getresponse()) as answer:
                data = answer.read()
                if answer.status < 500:
                    found.done.append(line)
                if isinstance(fault, Lose):
                    self.close_connection = True
                    return None
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
                return self.answer(answer.status, kept, data, cut=isinstance(fault, Cut))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def handle(self) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):  # either side has gone
                super().handle()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
            self.send_response_only(status)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own messages are enough."""

    with served(Handler) as found.endpoint:
        yield found

"""Whether the operator does its work, as its kubelet may ask: not that a process lives, but that its loops turn.

Metrics are served at the same port: one for a NetworkPolicy to open, and one for people to remember.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

LAG_SECONDS = 180.0  # for which a due run may wait, or one look at it last
WATCH_SECONDS = 600.0  # within which a watch is begun anew: the server ends each after four minutes
BEAT_SECONDS, DEAD_SECONDS = 1.0, 60.0  # of the event loop that watches
IDLE_SECONDS = 10.0  # for which a connection that asks nothing keeps its thread


class Health:
    """The state of the queue and of the loop that feeds it."""

    def __init__(self, lag: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        """`lag` gives the seconds for which the longest-waiting work has waited."""
        self._lag, self._clock = lag, clock
        self._beat = self._watch = clock()

    async def beat(self) -> None:
        """Show that the event loop turns, for as long as it does."""
        while True:
            self.turn()
            await asyncio.sleep(BEAT_SECONDS)

    def turn(self) -> None:
        """The event loop turns."""
        self._beat = self._clock()

    def watched(self) -> None:
        """A watch is begun, or tried."""
        self._watch = self._clock()

    def waits(self) -> None:
        """There is no event loop: it waits on purpose for the API server, which no restart would mend."""
        self._beat = self._watch = self._clock()

    def trouble(self) -> str:
        """What is wrong; empty: nothing is."""
        lag, silence = self._lag(), self._clock() - self._beat
        if lag > LAG_SECONDS:
            return f"a run has waited for {lag:.0f} s to be reconciled"
        if silence > DEAD_SECONDS:
            return f"the event loop that watches has stood still for {silence:.0f} s"
        if (blind := self._clock() - self._watch) > WATCH_SECONDS:
            return f"no watch has been begun for {blind:.0f} s"
        return ""


def serve(health: Health, registry: CollectorRegistry, port: int) -> ThreadingHTTPServer:
    """Answer /healthz and /metrics on `port`, in threads of their own."""

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_SECONDS

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encode(registry), kind)
            elif path == "/healthz":
                trouble = health.trouble()
                self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode())
            else:
                self._answer(404, b"only /healthz and /metrics are here\n")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A probe every few seconds is no news."""

    server = _Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    """Over IPv6 and IPv4 alike, where the machine has both: a Pod's address is of either."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

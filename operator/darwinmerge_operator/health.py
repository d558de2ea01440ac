"""Whether the operator does its work, as its kubelet may ask: not that a process lives, but that its loops turn."""

import asyncio
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAG_SECONDS = 180.0  # for which a due run may wait, or one look at it last
BEAT_SECONDS, DEAD_SECONDS = 1.0, 60.0  # of the event loop that watches


class Health:
    """The state of the queue and of the loop that feeds it."""

    def __init__(self, lag: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        """`lag` gives the seconds for which the longest-waiting work has waited."""
        self._lag, self._clock = lag, clock
        self._beat = clock()

    async def beat(self) -> None:
        """Show that the event loop turns, for as long as it does."""
        while True:
            self._beat = self._clock()
            await asyncio.sleep(BEAT_SECONDS)

    def trouble(self) -> str:
        """What is wrong; empty: nothing is."""
        lag, silence = self._lag(), self._clock() - self._beat
        if lag > LAG_SECONDS:
            return f"a run has waited for {lag:.0f} s to be reconciled"
        if silence > DEAD_SECONDS:
            return f"the event loop that watches has stood still for {silence:.0f} s"
        return ""


def serve(health: Health, port: int) -> ThreadingHTTPServer:
    """Answer /healthz on `port`, in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            trouble = health.trouble()
            known = self.path == "/healthz"
            self.send_response(404 if not known else 503 if trouble else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write((f"{trouble or 'ok'}\n" if known else "only /healthz is here\n").encode())

        def log_message(self, format: str, *args: object) -> None:
            """A probe every few seconds is no news."""

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server

"""How often kopf asks the API server, whatever that answers: never at once again, and never for the last time.

By itself kopf gives up on a server that answers with errors for a minute, and at once where a watch is refused with
410, or with 403, as by a server that has just begun and doesn't know its roles yet; then the whole operator ends, or
hangs in ending. And a watch that is cut is begun again at once, as often as it is
cut. So this stands between kopf and its session: each list and each watch has a share of requests that it can't exceed,
waits longer after each error, and what kopf is told of an error is one of the two things that it knows how to go on
after: a connection that failed (ask again), and too many requests (list anew). What the API server has to offer, which
kopf asks in a dozen requests of which none may fail, is asked here until it is told.
"""

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiohttp
from kopf._cogs.clients.errors import APITooManyRequestsError  # kopf has no public name for it

BASE_SECONDS, MAX_SECONDS = 1.0, 30.0  # after an error; doubled for each further one
PAUSE_SECONDS = 60.0  # the longest that the API server may ask for
BURST, EACH_SECONDS = 5, 4.0  # requests of one list or watch that may come at once, and for how long one counts
DISCOVERY = re.compile(r"/api(/[^/]+)?|/apis(/[^/]+){0,2}")  # paths that name no kind

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
Path = tuple[str, bool]  # and whether it is watched
log = logging.getLogger(__name__)


def pause_of(retry_after: str | None) -> float:
    """Seconds for which the API server wants to be left alone, by this header of its answer."""
    return min(float(retry_after), PAUSE_SECONDS) if retry_after and retry_after.isdigit() else 0.0


class Backoffs:
    """Seconds to wait after one error, the next, and so on without end."""

    def __iter__(self) -> Iterator[float]:
        seconds = BASE_SECONDS
        while True:
            yield seconds * random.uniform(0.8, 1.2)  # what broke together doesn't come back together
            seconds = min(MAX_SECONDS, 2 * seconds)


@dataclass
class _Share:
    """What one list or watch has used."""

    free: float = 0.0  # when none of its requests counts any more
    due: float = 0.0  # before which it may not ask, because of an error
    backoffs: Iterator[float] | None = None  # since its last success
    refused: bool = False  # since then, as has been told


class Pace:
    """Middleware of a session: what asks too often, or in vain, waits for its turn."""

    def __init__(
        self,
        watched: Callable[[], None] = lambda: None,
        tried: Callable[[str], None] = lambda path: None,
        heard: Callable[[str], None] = lambda path: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing was asked yet.

        `watched` is told of each watch that is tried, `tried` of each path that is listed or watched, `heard` of each
        whose watch is answered.
        """
        self._watched, self._tried, self._heard = watched, tried, heard
        self._clock, self._sleep = clock, sleep
        self._shares: dict[Path, _Share] = {}

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        """Make a request when it is its turn; an error is kopf's to try again, and ours to make it wait."""
        path = (request.url.path, "watch" in request.url.query)
        discovery = bool(DISCOVERY.fullmatch(request.url.path))
        while True:
            await self.turn(path)
            try:
                return await self._ask(path, request, handler, whole=discovery)
            except (aiohttp.ClientError, TimeoutError):
                if not discovery:
                    raise

    async def _ask(
        self, path: Path, request: aiohttp.ClientRequest, handler: Handler, whole: bool
    ) -> aiohttp.ClientResponse:
        if path[1]:
            self._watched()
        if not whole:
            self._tried(path[0])
        try:
            response = await handler(request)
            if whole:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            self.failed(path)
            raise
        if response.status not in (403, 410, 429) and response.status < 500:  # what else is refused, kopf may judge
            self._shares[path].backoffs, self._shares[path].refused = None, False
            if path[1] and response.ok:
                self._heard(path[0])
            return response
        self.failed(path, response.headers.get("Retry-After"))
        words = _message(await response.text()) if response.status == 403 else ""
        response.release()
        if words and not self._shares[path].refused:
            self._shares[path].refused = True
            log.warning(
                "%s can't be read, and is asked for again; is the operator's role bound there? %s", path[0], words
            )
        if response.status == 410:
            raise APITooManyRequestsError("the version is too old", status=410, headers={})
        raise aiohttp.ClientConnectionError(f"API server: {response.status} {words}".strip())

    async def turn(self, path: Path) -> None:
        """Wait until this path may be listed, or watched, once more."""
        share, now = self._shares.setdefault(path, _Share()), self._clock()
        share.free = max(now, share.free) + EACH_SECONDS
        wait = max(share.free - now - BURST * EACH_SECONDS, share.due - now)
        if wait > 0:
            await self._sleep(wait)

    def failed(self, path: Path, retry_after: str | None = None) -> None:
        """It was asked in vain; the API server may have said for how long it wants to be left alone."""
        share = self._shares[path]
        share.backoffs = share.backoffs or iter(Backoffs())
        share.due = self._clock() + max(next(share.backoffs), pause_of(retry_after))


def _message(text: str) -> str:
    """What a refusal says; it is a Status of Kubernetes', unless something stands before the API server."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300] or "refused"

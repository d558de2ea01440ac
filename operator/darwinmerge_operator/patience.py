"""How often kopf asks the API server, whatever that answers: never at once again, and never for the last time.

By itself kopf gives up on a server that answers with errors for a minute, and the whole operator ends with it; and a
watch that is cut is begun again at once, as often as it is cut. Here it waits longer after each error, for as long as
it takes, and each list and each watch has a share of requests that it can't exceed.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp

BASE_SECONDS, MAX_SECONDS = 1.0, 30.0  # after an error; doubled for each further one
BURST, EACH_SECONDS = 5, 4.0  # requests of one list or watch that may come at once, and for how long one counts

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class Backoffs:
    """Seconds to wait after one error, the next, and so on without end; kopf begins anew for each request."""

    def __iter__(self) -> Iterator[float]:
        seconds = BASE_SECONDS
        while True:
            yield seconds * random.uniform(0.8, 1.2)  # watches that broke together don't come back together
            seconds = min(MAX_SECONDS, 2 * seconds)


class Pace:
    """Middleware of a session: `BURST` requests for one thing at once, and one in `EACH_SECONDS` from then on."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing was asked yet."""
        self._clock, self._sleep = clock, sleep
        self._free: dict[tuple[str, bool], float] = {}  # when none of the requests for a thing counts any more

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        """Let a request wait until it is its turn."""
        await self.turn((request.url.path, "watch" in request.url.query))
        return await handler(request)

    async def turn(self, what: tuple[str, bool]) -> None:
        """Wait until this path may be listed, or watched, once more."""
        now = self._clock()
        free = max(now, self._free.get(what, now)) + EACH_SECONDS
        self._free[what] = free
        if (wait := free - now - BURST * EACH_SECONDS) > 0:
            await self._sleep(wait)

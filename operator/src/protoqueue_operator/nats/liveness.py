"""Whether a connected server answers at all.

One that accepts connections and then does not respond, as with a hanging disk, would delay every caller by a full
timeout. So it counts as away until it answers, and is probed in one place only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

T = TypeVar("T")

_SILENCE_S = 3.0
"""If requests have had no answer for this long, the server is probed."""
_CHECK_S = 0.5
_RETRY_S = 0.2


class Liveness:
    """Of one connection."""

    def __init__(self, probe: Callable[[], Awaitable[bool]], changed: Callable[[bool], None]) -> None:
        """`probe` makes a request that any healthy server answers at once, with a timeout of its own."""
        self._probe = probe
        self._changed = changed
        self._open: dict[asyncio.Timeout, float] = {}
        """The pending requests: since when, in monotonic seconds, oldest first."""
        self._heard_at = -inf
        self.is_alive = False

    async def wait_for(self, answer: Awaitable[T]) -> T:
        """Await an answer. Raises TimeoutError as soon as the server is known not to respond."""
        async with asyncio.timeout(None) as scope:
            self._open[scope] = time.monotonic()
            try:
                return await answer
            finally:
                del self._open[scope]

    def answered(self) -> None:
        """An answer of any kind has arrived."""
        self._heard_at = time.monotonic()

    async def run(self) -> None:
        """Runs while connected: to be cancelled when the connection is lost."""
        try:
            while True:
                while not await self._probe():  # noqa: ASYNC110 -- nothing tells when a server is well again
                    await asyncio.sleep(_RETRY_S)
                self._tell(True)
                await self._until_silent()
                self._tell(False)
        finally:
            self._tell(False)

    async def _until_silent(self) -> None:
        while not self._is_suspicious() or await self._probe():  # noqa: ASYNC110 -- nothing tells of silence
            await asyncio.sleep(_CHECK_S)

    def _is_suspicious(self) -> bool:
        """A single request may wait for another server that is away, while others are answered."""
        oldest = next(iter(self._open.values()), inf)
        return time.monotonic() - max(oldest, self._heard_at) > _SILENCE_S

    def _tell(self, is_alive: bool) -> None:
        if is_alive == self.is_alive:
            return
        self.is_alive = is_alive
        if not is_alive:
            now = asyncio.get_running_loop().time()
            for scope in self._open:
                scope.reschedule(now)
        self._changed(is_alive)

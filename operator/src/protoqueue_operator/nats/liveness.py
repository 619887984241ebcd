"""Whether a server that is connected answers at all.

One that lets everybody in and then says nothing, as on a disk that hangs, would hold up whoever asks for as long as
each request may take. So it counts as away until it answers, and it is asked in one place only.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

T = TypeVar("T")

_SILENCE_S = 3.0
"""When nothing was answered for so long although something was asked, it is asked whether anything will be."""
_CHECK_S = 0.5
_RETRY_S = 0.2


class Liveness:
    """Of one connection."""

    def __init__(self, probe: Callable[[], Awaitable[bool]], changed: Callable[[bool], None]) -> None:
        """`probe` asks what any server that is well answers at once, and has a patience of its own."""
        self._probe = probe
        self._changed = changed
        self._open: dict[asyncio.Timeout, float] = {}
        """The requests that wait for their answers: since when, in monotonic seconds, the oldest first."""
        self._heard_at = -inf
        self.is_alive = False

    async def wait_for(self, answer: Awaitable[T]) -> T:
        """Await an answer. Raises TimeoutError as soon as it is known that none will come."""
        async with asyncio.timeout(None) as scope:
            self._open[scope] = time.monotonic()
            try:
                return await answer
            finally:
                del self._open[scope]

    def answered(self) -> None:
        """Something was answered, whatever it was."""
        self._heard_at = time.monotonic()

    async def run(self) -> None:
        """From when the connection is made until it is lost: then this is to be cancelled."""
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
        """One request alone may wait for a server that is away; then others are answered meanwhile."""
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

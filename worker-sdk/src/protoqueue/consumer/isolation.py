"""Running a suspect alone, so that if its worker dies again, nothing else can be the cause."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

ALONE_S = 10.0
"""How long a suspect waits until nothing else runs, and how long it then runs alone the first time."""

TURN_WAIT_S = 1.0
"""A suspect that does not get its turn within this time goes to another worker."""

_LONGER = 4


def trial_s(late: int) -> float:
    """How long a suspect runs alone: longer after each death of its worker that came later than that."""
    return float(ALONE_S * _LONGER ** min(late, 12))


class Isolation:
    """What runs in one worker, and whether anything may start. `changed` is called when that changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._running = 0
        self._turn = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stopping = False

    def stop(self) -> None:
        """No suspect has its turn any more."""
        self._stopping = True
        self._quiet.set()

    @property
    def is_closed(self) -> bool:
        """Whether a suspect runs alone or waits to: then nothing else may start."""
        return self._turn.locked()

    def begin(self) -> None:
        """A task starts."""
        self._running += 1
        self._quiet.clear()

    def end(self) -> None:
        """It has ended."""
        self._running -= 1
        if not self._running:
            self._quiet.set()

    @contextlib.asynccontextmanager
    async def alone(self, late: int, trial_over: Callable[[], Awaitable[None]]) -> AsyncIterator[int | None]:
        """Run within as a suspect: it yields how many others still run, or None where it is not this one's turn.

        Where it takes longer than its trial, `trial_over` is awaited, and others may start beside it.
        """
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            yield None
            return
        ending: asyncio.Task[None] | None = None
        try:
            self._changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALONE_S):
                    await self._quiet.wait()
            if self._stopping:
                yield None
                return
            beside = self._running
            self.begin()
            ending = asyncio.create_task(self._end_trial(trial_s(late), trial_over))
            try:
                yield beside
            finally:
                self.end()
        finally:
            if ending is None or ending.cancel() or ending.exception() is not None:  # otherwise it has opened
                self._open()

    async def _end_trial(self, seconds: float, trial_over: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        if not self._stopping:
            await trial_over()
        self._open()  # without an await before the end: a cancellation comes before this or not at all

    def _open(self) -> None:
        self._turn.release()
        self._changed()

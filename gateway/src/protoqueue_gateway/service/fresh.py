"""Answers that are shared by concurrent callers and cached briefly."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")

_MOST = 1000


class Fresh(Generic[_Key, _Answer]):
    """Asks once for all callers within `good_for_s`."""

    def __init__(self, ask: Callable[[_Key], Awaitable[_Answer]], good_for_s: float) -> None:
        self._ask = ask
        self._good_for_s = good_for_s
        self._known: dict[_Key, tuple[float, asyncio.Future[_Answer]]] = {}

    async def get(self, key: _Key) -> _Answer:
        """Raises what asking raises; an error is not cached."""
        asked_at, answer = self._known.get(key, (0.0, None))
        if answer is None or (answer.done() and time.monotonic() - asked_at > self._good_for_s):
            answer = asyncio.ensure_future(self._ask(key))
            self._known.pop(key, None)
            self._known[key] = time.monotonic(), answer
            answer.add_done_callback(lambda done: self._forget_failure(key, done))
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
        return await asyncio.shield(answer)

    def forget(self, key: _Key) -> None:
        """Ask again the next time."""
        self._known.pop(key, None)

    def _forget_failure(self, key: _Key, answer: "asyncio.Future[_Answer]") -> None:
        if (answer.cancelled() or answer.exception() is not None) and self._known.get(key, (0, None))[1] is answer:
            del self._known[key]

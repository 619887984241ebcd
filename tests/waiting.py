"""Awaiting conditions: what a test does in place of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 100.0
"""What takes a few seconds may take so long on a machine ten times slower. A test that states how soon something
happens measures that itself, or gives a time of its own."""


async def eventually(
    probe: Callable[[], T | Awaitable[T]], timeout_s: float = PATIENCE_S, interval_s: float = 0.05
) -> T:
    """Call `probe` until it returns something truthy and give that back.

    A probe may also assert: an AssertionError counts as "not yet", and the last one is what the test fails with.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        try:
            result = probe()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result  # type: ignore[return-value]
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"not within {timeout_s} s: {inspect.getsource(probe).strip()}")
        await asyncio.sleep(interval_s)

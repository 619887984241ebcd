"""Polls many things in turn, at an even pace."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

Thing = TypeVar("Thing")

_AT_ONCE = 8
"""How many answers may be pending before waiting for one: a slow one delays no other."""


async def go_round(things: Collection[Thing], visit: Callable[[Thing], Awaitable[None]], within_s: float) -> None:
    """Visit each once, spread over that time; returns when it has passed and all visits have ended."""
    started = time.monotonic()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def visit_one(thing: Thing) -> None:
        try:
            await visit(thing)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as visits:
        for number, thing in enumerate(things):
            await _until(started + within_s * number / len(things))
            await slots.acquire()
            visits.create_task(visit_one(thing))
    await _until(started + within_s)


async def _until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - time.monotonic()))

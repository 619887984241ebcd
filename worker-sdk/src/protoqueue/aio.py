"""Cancelling asyncio tasks."""

import asyncio
from typing import Any

_AGAIN_S = 0.1


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Return once all have ended; their errors are ignored.

    Cancelling once is not enough: `asyncio.wait_for`, which nats-py awaits its requests with, swallows a cancellation
    that comes together with the answer (until Python 3.12).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


def is_running(task: asyncio.Task[Any] | None) -> bool:
    """Whether this is called as part of that task.

    If so, a GeneratorExit is its own code's; otherwise it closes an abandoned coroutine.
    """
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no event loop runs any more
        return False

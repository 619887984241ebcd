import asyncio
import threading

import pytest

from protoqueue.handlers.executors import Executors
from waiting import eventually


async def test_what_no_future_takes_is_an_error_like_others_from_a_thread_and_from_a_process() -> None:
    executors = Executors(1)
    for run in (executors.in_thread, executors.in_process):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(run(next, iter([])), 60)
    executors.close()


async def test_functions_that_run_on_after_their_timeout_leave_others_their_threads_and_are_counted() -> None:
    executors, release = Executors(2), threading.Event()

    async def left_behind() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await executors.in_thread(release.wait, 30)

    await left_behind()
    assert (executors.left_behind, executors.has_busy_threads) == (0, True)
    await left_behind()
    assert executors.left_behind == 2
    assert await asyncio.gather(*(executors.in_thread(abs, -n) for n in (1, 2))) == [1, 2]
    release.set()
    await eventually(lambda: not executors.has_busy_threads)
    assert executors.left_behind == 0
    executors.close()

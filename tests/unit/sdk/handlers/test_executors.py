import asyncio
import threading

import pytest

from protoqueue.surroundings import Surroundings
from waiting import eventually


async def test_what_no_future_takes_is_an_error_like_others_from_a_thread_and_from_a_process() -> None:
    surroundings = Surroundings(1)
    for run in (surroundings.in_thread, surroundings.in_process):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(run(next, iter([])), 20)
    surroundings.close()


async def test_functions_that_run_on_after_their_timeout_leave_others_their_threads_and_are_counted() -> None:
    surroundings, release = Surroundings(2), threading.Event()

    async def left_behind() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await surroundings.in_thread(release.wait, 30)

    await left_behind()
    assert (surroundings.left_behind, surroundings.has_busy_threads) == (0, True)
    await left_behind()
    assert surroundings.left_behind == 2
    assert await asyncio.gather(*(surroundings.in_thread(abs, -n) for n in (1, 2))) == [1, 2]
    release.set()
    await eventually(lambda: not surroundings.has_busy_threads)
    assert surroundings.left_behind == 0
    surroundings.close()

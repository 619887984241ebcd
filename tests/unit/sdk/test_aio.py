import asyncio

from protoqueue.aio import cancel, is_running


async def test_a_task_that_swallows_its_first_cancellation_is_ended_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel(task), 60)
    assert task.cancelled()
    assert swallowed == 3


async def test_tasks_that_have_ended_are_left_alone() -> None:
    async def fail() -> None:
        raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    await cancel(task)
    assert isinstance(task.exception(), ValueError)


def test_a_task_runs_in_its_own_steps_and_neither_in_another_s_nor_without_an_event_loop() -> None:
    async def look() -> asyncio.Task[None]:
        other = asyncio.create_task(asyncio.sleep(0))
        assert is_running(asyncio.current_task())
        assert not is_running(other)
        await other
        return other

    assert not is_running(asyncio.run(look()))

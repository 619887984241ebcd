"""Functions in processes: what one does to its process is its own affair."""

import asyncio
import os
import signal
import sys

import psutil
import pytest

from computing import (
    DeadlyToImport,
    SlowToImport,
    be_exacting,
    compute,
    die,
    finish,
    give_a_lambda,
    give_what_only_it_reads,
)
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.results import Unsendable
from waiting import eventually

WORKER = """
import asyncio, os
from protoqueue.handlers.executors import Executors

async def main():
    print(await Executors(1).in_process(os.getpid), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


def has_ended(pid: int) -> bool:
    """With all its threads: a process's files are open until the last of them has ended."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def executors():
    executors = Executors(2)
    yield executors
    executors.close()


async def test_a_process_that_dies_fails_its_own_call_alone_and_is_replaced(executors, tmp_path) -> None:
    begun, dead = tmp_path / "begun", tmp_path / "dead"
    neighbour = asyncio.create_task(executors.in_process(finish, begun, dead))
    with pytest.raises(Exception, match="SIGKILL"):
        await asyncio.wait_for(executors.in_process(die, begun), 60)
    dead.touch()
    assert await asyncio.wait_for(neighbour, 60) == "finished"
    assert await asyncio.wait_for(executors.in_process(abs, -1), 60) == 1


async def test_a_call_that_is_no_longer_waited_for_is_killed_with_what_it_has_started(executors, tmp_path) -> None:
    note = tmp_path / "note"
    computing = asyncio.create_task(executors.in_process(compute, note))
    await eventually(note.exists)
    computing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await computing
    for pid in map(int, note.read_text().split()):
        await eventually(lambda pid=pid: has_ended(pid))
    assert executors.left_behind == 0


async def test_a_process_is_used_again_and_there_are_no_more_than_calls_at_once(executors) -> None:
    one_by_one = {await executors.in_process(os.getpid) for _ in range(5)}
    assert len(one_by_one) == 1

    at_once = set(await asyncio.gather(*(executors.in_process(os.getpid) for _ in range(10))))
    assert one_by_one <= at_once
    assert len(at_once) <= 2


async def test_a_timeout_too_short_for_the_start_of_a_process_does_not_end_that(executors) -> None:
    async def in_time() -> bool:
        try:
            async with asyncio.timeout(0.05):
                return await executors.in_process(SlowToImport()) == "imported"
        except TimeoutError:
            return False

    assert not await in_time()
    await eventually(in_time)


async def test_a_process_that_dies_at_its_start_fails_the_call(executors) -> None:
    with pytest.raises(Exception, match="status 9"):
        await asyncio.wait_for(executors.in_process(DeadlyToImport()), 60)


async def test_a_process_that_dies_between_two_calls_fails_neither(executors) -> None:
    pid = await executors.in_process(os.getpid)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: has_ended(pid))
    assert await executors.in_process(os.getpid) != pid


async def test_an_error_that_cannot_be_pickled_back_is_told_by_its_text_and_ends_nothing(executors) -> None:
    pid = await executors.in_process(os.getpid)
    with pytest.raises(RuntimeError, match=r"Exacting: payload: odd"):
        await executors.in_process(be_exacting)
    with pytest.raises(SystemExit):
        await executors.in_process(sys.exit, 3)
    with pytest.raises(Exception, match="pickle"):
        await executors.in_process(abs, lambda: None)
    assert await executors.in_process(os.getpid) == pid


async def test_an_error_says_where_in_the_process_it_came_from(executors) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        await executors.in_process(os.stat, "/nowhere")
    assert any("executors.py" in note for note in raised.value.__notes__)


async def test_processes_end_when_their_surroundings_do_and_with_a_worker_that_is_killed(tmp_path) -> None:
    executors = Executors(1)
    pid = await executors.in_process(os.getpid)
    executors.close()
    await eventually(lambda: has_ended(pid))
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    worker = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    child = int(await worker.stdout.readline())
    worker.kill()
    await worker.wait()
    await eventually(lambda: has_ended(child))


TURNING = """
import asyncio, os, time
from protoqueue.handlers.executors import Executors

async def main():
    executors, longest = Executors(1), 0.0
    called = asyncio.create_task(executors.in_process(os.getpid))
    turned, turns = time.monotonic(), 0
    while not called.done():
        await asyncio.sleep(0.001)
        turns += 1
        longest, turned = max(longest, time.monotonic() - turned), time.monotonic()
    await called
    executors.close()
    print(turns, longest)

if __name__ == "__main__":
    begun = time.monotonic()
    asyncio.run(main())
"""


async def test_the_event_loop_turns_while_the_first_process_starts(tmp_path) -> None:
    """That imports the SDK, which takes far longer than a turn of the loop, on any machine."""
    script = tmp_path / "turning.py"
    script.write_text(TURNING)
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    turns, longest = output.split()
    assert int(turns) > 20, (turns, longest)


@pytest.mark.parametrize(
    ("function", "why"), [(give_a_lambda, "a function cannot be pickled"), (give_what_only_it_reads, "unreadable")]
)
async def test_a_result_that_cannot_be_sent_does_not_fail_the_function(executors, function, why) -> None:
    returned = await asyncio.wait_for(executors.in_process(function, None), 60)
    assert isinstance(returned, Unsendable)
    assert why in returned.why
    assert await asyncio.wait_for(executors.in_process(abs, -1), 60) == 1

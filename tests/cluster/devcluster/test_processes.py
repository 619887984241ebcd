"""Processes and the lifeline, without any cluster."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.devcluster.pods import is_alive
from protoqueue_devcluster.lifeline import DirectoryInUse, Lifeline, lock_directory
from protoqueue_devcluster.processes import Command, StartFailed, free_port, running, spawn, wait_ready
from waiting import eventually

OWNER = """
import asyncio, os, sys
from pathlib import Path
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.processes import Command, spawn

async def own(directory: Path, script: str) -> None:
    with Lifeline(directory) as lifeline:
        process = await spawn(Command("child", ["sh", "-c", script], dict(os.environ), directory / "log"), lifeline)
        await process.wait()

asyncio.run(own(Path(sys.argv[1]), sys.argv[2]))
"""
DAEMON = "import os, time; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"


def command(directory: Path, script: str) -> Command:
    return Command("test", ["sh", "-c", script], dict(os.environ), directory / "test.log")


def own(directory: Path, script: str) -> "subprocess.Popen[bytes]":
    """An owner in a process of its own, with one child."""
    return subprocess.Popen([sys.executable, "-c", OWNER, str(directory), script])


def pids_in(log: Path, count: int) -> list[int]:
    """The pids a script has printed, once all of them are there."""
    lines = log.read_text().split() if log.exists() else []
    return [int(line) for line in lines] if len(lines) == count else []


@pytest.mark.parametrize(
    "script",
    ["echo $$; exec sleep 1000", "sleep 1000 & echo $!; wait", f'{sys.executable} -c "{DAEMON}"; sleep 1000'],
    ids=["child", "grandchild", "daemon in a session of its own"],
)
async def test_nothing_survives_an_owner_killed_with_sigkill(tmp_path: Path, script: str) -> None:
    owner = own(tmp_path, script)
    (pid,) = await eventually(lambda: pids_in(tmp_path / "log", 1)) or []
    assert is_alive(pid)
    owner.kill()
    owner.wait()
    await eventually(lambda: not is_alive(pid))


async def test_a_directory_has_one_owner_and_is_free_again_when_nothing_is_left_of_it(tmp_path: Path) -> None:
    owner = own(tmp_path, "echo $$; exec sleep 1000")
    (pid,) = await eventually(lambda: pids_in(tmp_path / "log", 1)) or []
    with pytest.raises(DirectoryInUse):
        Lifeline(tmp_path, timeout_s=0)
    owner.kill()
    owner.wait()
    with Lifeline(tmp_path):
        assert not is_alive(pid)


async def test_an_orderly_end_kills_what_was_left_and_ends_the_reaper(tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    with Lifeline(tmp_path) as lifeline:
        process = await spawn(command(tmp_path, "exec sleep 1000"), lifeline)
        (reaper,) = set(psutil.Process().children()) - others - {psutil.Process(process.pid)}
    assert await process.wait() == -signal.SIGKILL
    assert not reaper.is_running()
    lock_directory(tmp_path).close()


async def test_lifelines_of_an_owner_within_an_owner_reach_all_the_way_down(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text(OWNER)
    inner = f'{sys.executable} {tmp_path}/inner.py {tmp_path}/inner "echo \\$\\$; exec sleep 1000"'
    owner = own(tmp_path / "outer", inner)
    (pid,) = await eventually(lambda: pids_in(tmp_path / "inner" / "log", 1)) or []
    owner.kill()
    owner.wait()
    await eventually(lambda: not is_alive(pid))


async def test_sigterm_goes_to_the_process_and_sigkill_to_its_group(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap 'echo child got TERM' TERM; while :; do sleep 0.05; done) & echo $!; wait"
    with Lifeline(tmp_path) as lifeline:
        process = await spawn(command(tmp_path, script), lifeline)
        (child,) = await eventually(lambda: pids_in(process.log, 1)) or []
        assert await process.stop(grace_s=0.3) == -signal.SIGKILL
        await eventually(lambda: not is_alive(child))
        assert process.log.read_text() == f"{child}\n"


async def test_a_process_that_obeys_sigterm_is_not_killed(tmp_path: Path) -> None:
    with Lifeline(tmp_path) as lifeline:
        async with running(
            command(tmp_path, "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"), lifeline
        ) as process:
            await eventually(process.log.read_text)
        assert process.exit_code == 5


async def test_a_process_that_ends_before_it_is_ready_shows_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    with Lifeline(tmp_path) as lifeline:
        process = await spawn(command(tmp_path, "echo the port is taken; exit 4"), lifeline)
        with pytest.raises(StartFailed, match=r"test ended with code 4:\n.*the port is taken"):
            await wait_ready(process, never)
        process = await spawn(command(tmp_path, "exec sleep 100"), lifeline)
        with pytest.raises(StartFailed, match=r"not ready within 0.1 s"):
            await wait_ready(process, never, timeout_s=0.1)


async def test_many_processes_are_waited_for_side_by_side(tmp_path: Path) -> None:
    with Lifeline(tmp_path) as lifeline:
        processes = [await spawn(command(tmp_path, f"exit {number}"), lifeline) for number in range(20)]
        assert await asyncio.gather(*(process.wait() for process in processes)) == list(range(20))


def test_a_free_port_is_free_and_none_that_an_outgoing_connection_may_take() -> None:
    port = free_port()
    assert 1024 < port < 30000
    assert free_port(port) == port

"""Starting and stopping operating-system processes: the one place that does it."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from protoqueue_devcluster.lifeline import Lifeline

_PORTS = range(20_000, 30_000)
"""Below those that Linux, macOS and Kubernetes' NodePorts give out."""


class StartFailed(Exception):
    """A process ended or stayed silent before it was ready; the message carries the end of its log."""


@dataclass(frozen=True)
class Command:
    """What to run. `env` is the whole environment, nothing is inherited besides it."""

    name: str
    arguments: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None


class Process:
    """A started process, leader of its own session and process group."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.pid, self.log = name, process.pid, log
        self._process = process
        self._over = False

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one killed it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end. What it left in its process group ends with it, as in a container."""
        code = await self._process.wait()
        self.kill()
        self._over = True  # from now on the number may become somebody else's
        return code

    def kill(self) -> None:
        """SIGKILL to the whole process group; nothing happens if all of it has ended."""
        if self._over:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM, and SIGKILL if that was not enough within the grace period.

        As with a container's first process, SIGTERM goes to the process alone: it may need its children to finish.
        """
        if self.exit_code is None:
            self._process.terminate()
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the result.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    return await self.wait()
        self.kill()
        return await self.wait()


async def spawn(command: Command, lifeline: Lifeline, output: int | None = None) -> Process:
    """Start a process tied to the lifeline; its output is appended to its log, or goes to the descriptor `output`.

    Raises OSError when the program cannot be executed.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        target = output if output is not None else files.enter_context(command.log.open("ab"))
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=target,
            stderr=asyncio.subprocess.STDOUT,
            env={**command.env, **lifeline.environment},
            cwd=command.cwd,
            start_new_session=True,
        )
    return Process(command.name, process, command.log)


@contextlib.asynccontextmanager
async def running(command: Command, lifeline: Lifeline, grace_s: float = 10.0) -> AsyncIterator[Process]:
    """A process for the duration of the block."""
    process = await spawn(command, lifeline)
    try:
        yield process
    finally:
        await process.stop(grace_s)


async def wait_ready(
    process: Process, ready: Callable[[], Awaitable[bool]], timeout_s: float = 20.0, interval_s: float = 0.03
) -> None:
    """Wait until `ready()` holds; raises StartFailed when the process ends before or the time is up."""
    deadline = time.monotonic() + timeout_s
    while not await ready():
        if process.exit_code is not None:
            raise StartFailed(f"{process.name} ended with code {process.exit_code}:\n{log_tail(process.log)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{process.name} was not ready within {timeout_s:g} s:\n{log_tail(process.log)}")
        await asyncio.sleep(interval_s)


async def accepts_connections(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def find_program(name: str, distribution: str) -> str:
    """A program beside this interpreter, else on PATH; raises FileNotFoundError that says what to install."""
    beside = os.path.dirname(sys.executable)
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: pip install {distribution}")
    return found


def log_tail(log: Path, lines: int = 15) -> str:
    """The end of a log file and where to find the rest."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([*(f"  {line}" for line in text), f"  (all of it: {log})"])


def free_port(wanted: int = 0) -> int:
    """The wanted TCP port of 127.0.0.1, or for 0 any that was free a moment ago; raises StartFailed if it is taken.

    To be asked before a server is started on it: a readiness check would take a foreign server for ours. What is given
    for 0 is no port that the system gives to outgoing connections: one of those could take it meanwhile, and a client
    that seeks a server while it restarts could connect to itself there.
    """
    for port in (wanted,) if wanted else SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                failure = StartFailed(f"port {port} is not to be had: {error.strerror}")
            else:
                return port
    raise failure

"""The API server as a child process."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


class ApiServerFailed(RuntimeError):
    """The server ended or stayed silent instead of serving; the text holds the end of its log."""


@dataclass(frozen=True)
class ApiServer:
    """A running API server."""

    kubeconfig: Path
    url: str
    pid: int


@contextlib.asynccontextmanager
async def running_apiserver(
    directory: Path, port: int = 0, request_log: Path | None = None
) -> AsyncIterator[ApiServer]:
    """Run the API server with its files in `directory`; it is listening when this yields. Raises ApiServerFailed."""
    log = _prepared(directory)
    command = [sys.executable, "-m", "protoqueue_devcluster.apiserver", "--dir", str(directory), "--port", str(port)]
    if request_log is not None:
        command += ["--request-log", str(request_log)]
    with log.open("ab") as errors:
        # A process group of its own: Ctrl-C in a terminal is for whoever runs us, who then stops the parts in order.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield ApiServer(directory / "kubeconfig", await _served_url(process, log), process.pid)
    finally:
        await _stop(process)


def _prepared(directory: Path) -> Path:
    """Make the directory, forget an earlier server's kubeconfig; returns where the log goes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kubeconfig").unlink(missing_ok=True)
    return directory / "apiserver.log"


async def _served_url(process: asyncio.subprocess.Process, log: Path) -> str:
    """The line the server prints once it listens and its kubeconfig is written."""
    line = b""
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
    if not line:
        raise ApiServerFailed(f"the API server did not start (exit code {process.returncode}); {_end_of(log)}")
    return line.decode().strip()


def _end_of(log: Path) -> str:
    return f"end of {log}:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

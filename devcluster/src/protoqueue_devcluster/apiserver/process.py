"""The API server as a child process."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import yaml

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
    directory.mkdir(parents=True, exist_ok=True)
    kubeconfig, log = directory / "kubeconfig", directory / "apiserver.log"
    kubeconfig.unlink(missing_ok=True)
    command = [sys.executable, "-m", "protoqueue_devcluster.apiserver", "--dir", str(directory), "--port", str(port)]
    if request_log is not None:
        command += ["--request-log", str(request_log)]
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in a terminal is for whoever runs us, who then stops the parts in order.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        await _listening(process, kubeconfig, log)
        url = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"]
        yield ApiServer(kubeconfig, url, process.pid)
    finally:
        await _stop(process)


async def _listening(process: asyncio.subprocess.Process, kubeconfig: Path, log: Path) -> None:
    """Wait for the kubeconfig, which the server writes once it listens."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            while not kubeconfig.exists() and process.returncode is None:
                await asyncio.sleep(0.02)
    if kubeconfig.exists():
        return
    end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise ApiServerFailed(f"the API server did not start (exit code {process.returncode}); end of {log}:\n{end}")


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

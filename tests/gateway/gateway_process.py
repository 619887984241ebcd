"""The real gateway as a process, to be stopped, killed and started again."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from waiting import eventually

_LISTENING = re.compile(r"listening on (http://[0-9.]+:[0-9]+)")


class GatewayProcess:
    """`variables` go into its environment, `arguments` are those of the command."""

    def __init__(
        self, kubeconfig: Path, nats_url: str, directory: Path, *arguments: str,
        variables: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROTOQUEUE_", "NATS_"))}
        self._environment = kept | {"KUBECONFIG": str(kubeconfig), "NATS_URL": nats_url, **(variables or {})}
        self._command = [sys.executable, "-m", "protoqueue_gateway", "--host", "127.0.0.1", "--port", "0", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "gateway.log"
        self.url = ""

    async def start(self) -> None:
        """Return once it listens."""
        with self.log.open("wb") as log:
            self._process = self._spawn(log)
        self.url = await eventually(self._listening)

    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def _listening(self) -> str:
        assert self._process
        if self._process.poll() is not None:
            raise RuntimeError(f"the gateway did not start:\n{self.log.read_text()}")
        found = _LISTENING.search(self.log.read_text())
        return found[1] if found else ""

    @property
    def pid(self) -> int:
        assert self._process, "it is not started"
        return self._process.pid

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> int:
        """SIGKILL."""
        return await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        return await asyncio.to_thread(process.wait, 60)

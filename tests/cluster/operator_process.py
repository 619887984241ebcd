"""The real operator as a process, to be stopped, killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class OperatorProcess:
    """`arguments` are those of `run`; `variables` go into its environment, and `before` stands before the command."""

    def __init__(
        self,
        kubeconfig: Path,
        nats_url: str,
        directory: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig), "PROTOQUEUE_NATS_URL": nats_url}
        self._environment |= variables or {}
        self._command = [*before, sys.executable, "-m", "protoqueue_operator", "run", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "operator.log"

    def start(self) -> None:
        """Return at once: its work shows in the resources."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._process, "it is not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """SIGTERM; raises TimeoutExpired where it does not end in an orderly way."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)
            self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

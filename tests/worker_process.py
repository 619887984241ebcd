"""A worker in a process of its own, to be killed; it tells what it did in a file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

_PREAMBLE = """
import asyncio, os, sys, time
import protoqueue
from protoqueue import Reject, Retry, Snooze, Task

worker = protoqueue.Worker()

def tell(*words):
    line = " ".join(map(str, words)) + "\\n"
    file = os.open({told!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
"""


class WorkerProcess:
    """`text` defines handlers on `worker` and may call `tell(words)`; its lines are read with `told`."""

    def __init__(
        self, text: str, url: str, queue: str, directory: Path, group: str = "mailers", concurrency: int = 10
    ) -> None:
        directory.mkdir(parents=True)
        self._told = directory / "told"
        self.log = directory / "log"
        (directory / "tasks.py").write_text(_PREAMBLE.format(told=str(self._told)) + text)
        environment = os.environ | {
            "PROTOQUEUE_NATS_URL": url,
            "PROTOQUEUE_QUEUE": queue,
            "PROTOQUEUE_GROUP": group,
            "PROTOQUEUE_CONCURRENCY": str(concurrency),
        }
        command = Path(sys.executable).parent / "protoqueue"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(command), "worker", "tasks:worker"], cwd=directory, env=environment, stdout=log, stderr=log
            )

    @property
    def told(self) -> list[str]:
        """The lines told so far."""
        return self._told.read_text().splitlines() if self._told.exists() else []

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended already."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float = 20) -> int:
        """The exit status."""
        return self._process.wait(timeout_s)

"""No process outlives its owner, not even an owner killed with SIGKILL.

Everything an owner starts carries a marker in its environment, children of children included. A small reaper process
holds the other end of a pipe: when that closes, for whatever reason, it kills all that carry the marker. Unlike
PR_SET_PDEATHSIG this reaches grandchildren and daemons, and works wherever psutil does. (A process that overwrites
its own environment, as some do to set their title, hides from it; an orderly stop still reaches it by its group.)

The owner's directory is locked, and the reaper holds the lock too: whoever gets it finds nothing left running.
"""

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    import psutil

MARKER = "PROTOQUEUE_LIFELINE"
"""Environment variable: the markers of all owners up the chain, separated by spaces."""


class DirectoryInUse(Exception):
    """Another owner is running in this directory."""


class Lifeline:
    """The hold of one owner on one directory and on every process started with `environment`.

    Raises DirectoryInUse when the directory is still taken after `timeout_s`: a predecessor that was killed holds it
    for the moment its reaper needs.
    """

    def __init__(self, directory: Path, timeout_s: float = 5.0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(directory, timeout_s)
        marker = marker_of(directory)
        kill_marked(marker)
        inherited = os.environ.get(MARKER, "").split()
        self.environment = {MARKER: " ".join([*inherited, marker])}
        read_end, self._write_end = os.pipe()
        self._reaper = subprocess.Popen(
            [sys.executable, "-m", "protoqueue_devcluster.lifeline", marker],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._lock.fileno()],
            env={name: value for name, value in os.environ.items() if name != MARKER},
            start_new_session=True,
        )
        os.close(read_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write_end)
        self._reaper.wait()
        self._lock.close()


def lock_directory(directory: Path, timeout_s: float = 0.0) -> IO[bytes]:
    """Take the directory's lock, which the returned file holds while it is open; raises DirectoryInUse."""
    file = (directory / "lock").open("ab")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise DirectoryInUse(str(directory)) from None
            time.sleep(0.05)


def marker_of(directory: Path) -> str:
    """What marks the processes of the directory's owner."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]


def marked_processes(marker: str) -> "list[psutil.Process]":
    """Every living process that carries the marker."""
    import psutil  # here, because a reaper needs it only once, at its end

    found = []
    for process in psutil.process_iter():
        try:
            carried = marker in process.environ().get(MARKER, "").split()
            if carried and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_marked(marker: str) -> None:
    """Kill every process that carries the marker, until none is left: one may start another while it dies."""
    while processes := marked_processes(marker):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)


def reap(marker: str) -> None:
    """Wait for the owner's end of standard input to close, then kill what it left behind."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    kill_marked(marker)


if __name__ == "__main__":
    reap(sys.argv[1])

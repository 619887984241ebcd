"""A cluster that goes on after its command has returned, and how it is stopped."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from protoqueue_devcluster.cluster import recorded_supervisor
from protoqueue_devcluster.lifeline import DirectoryInUse, lock_directory
from protoqueue_devcluster.processes import StartFailed, log_tail

_STOP_TIMEOUT_S = 45.0
_DYING_S = 5.0
"""How long what a killed cluster left behind may hold its directory."""


class NotStopped(Exception):
    """The cluster could not be stopped; the message says what is known of it."""


def start_detached(directory: Path, arguments: Sequence[str], timeout_s: float) -> str:
    """Start `up` with these arguments in a session of its own and wait for its report.

    Returns what is not ready, empty if everything is; raises DirectoryInUse, before the log of who runs there is
    touched, and StartFailed with the log's end if it did not start.
    """
    log = directory / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lock_directory(directory, 0.0 if recorded_supervisor(directory) else _DYING_S).close()
    read_end, write_end = os.pipe()
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:  # it shows the key
        process = subprocess.Popen(
            [sys.executable, "-m", "protoqueue_devcluster", "up", *arguments, "--report-to", str(write_end)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[write_end],
            start_new_session=True,
        )
    os.close(write_end)
    with os.fdopen(read_end) as reports:
        if not select.select([reports], [], [], timeout_s)[0]:
            process.terminate()
            raise StartFailed(f"not up within {timeout_s:g} s:\n{log_tail(log)}")
        report = reports.read()
    if not report:  # closed without a word: it ended
        process.wait()
        raise StartFailed(log_tail(log))
    return str(json.loads(report)["problem"])


def send_report(descriptor: int, problem: str) -> None:
    """The other side of `start_detached`."""
    with os.fdopen(descriptor, "w") as pipe:
        json.dump({"problem": problem}, pipe)


def stop_detached(directory: Path) -> bool:
    """Stop the cluster of this directory, wherever it runs; False if there is none. Raises NotStopped."""
    try:
        lock_directory(directory).close()
    except DirectoryInUse:
        pass
    else:
        return False
    process = recorded_supervisor(directory)
    if process is None:
        raise NotStopped(f"{directory} is in use, but by no `protoqueue up` that can be found")
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    try:
        lock_directory(directory, _STOP_TIMEOUT_S).close()
    except DirectoryInUse:
        process.kill()  # its reaper kills everything else
        lock_directory(directory, max(10.0, deadline - time.monotonic())).close()
    return True

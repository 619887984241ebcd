"""Ports for the servers of tests."""

import fcntl
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import IO

from protoqueue_devcluster import processes

_PORTS = range(30_000, 32_700)
"""Neither those that an embedded cluster takes for itself, nor those that the system gives to outgoing connections."""

_given: list[IO[str]] = []
"""Locks on the ports that this process has been given; they go with it."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free, and that nobody else is given here until this process ends.

    A server may be started there late, or be stopped for a while: what runs beside this test must not take its port.
    """
    folder = Path(tempfile.gettempdir()) / "protoqueue-test-ports"
    folder.mkdir(exist_ok=True)
    for port in SystemRandom().sample(_PORTS, len(_PORTS)):
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            processes.free_port(port)
        except (BlockingIOError, processes.StartFailed):
            lock.close()
            continue
        _given.append(lock)
        return port
    raise RuntimeError(f"all ports from {_PORTS[0]} to {_PORTS[-1]} are taken")

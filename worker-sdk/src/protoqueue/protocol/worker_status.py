"""Workers' answers: how many tasks one runs, and on which host; and what the holder of a task knows of it.

The operator asks before it ends some of a group's workers, so that idle ones go first.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass

_LONGEST_TROUBLE = 300


def host_name() -> str:
    """In Kubernetes the pod's name."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


@dataclass(frozen=True)
class WorkerStatus:
    """One running worker: the `host` it runs on (in Kubernetes the pod's name) and how many tasks it is `running`."""

    host: str
    running: int
    concurrency: int = 0
    """How many it may run at once; 0: a worker of an earlier version, which does not say."""
    rate_limited: bool = False
    """Whether it has tasks that wait for a rate limit."""
    trouble: str = ""
    """Why it cannot work properly, such as that outcomes cannot be stored; empty if it can."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self) | {"trouble": self.trouble[:_LONGEST_TROUBLE]}).encode()

    @classmethod
    def decode(cls, data: bytes) -> "WorkerStatus":
        """Raises ValueError for anything else."""
        match json.loads(data):
            case {"host": str(host), "running": int(running), **more} if running >= 0:
                concurrency, trouble = more.get("concurrency"), more.get("trouble")
                return cls(
                    host,
                    running,
                    concurrency if isinstance(concurrency, int) else 0,
                    rate_limited=more.get("rate_limited") is True,
                    trouble=trouble if isinstance(trouble, str) else "",
                )
        raise ValueError(f"not a worker status: {data[:80]!r}")


@dataclass(frozen=True)
class HeldTask:
    """A task in a worker: `started` is when its handler was, in seconds since the epoch, 0 while it has no slot."""

    worker: str
    group: str
    attempt: int
    started: float

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "HeldTask":
        """Raises ValueError for anything else."""
        match json.loads(data):
            case {
                "worker": str(worker),
                "group": str(group),
                "attempt": int(attempt),
                "started": int() | float() as at,
            }:
                return cls(worker, group, attempt, at)
        raise ValueError(f"not a task that a worker holds: {data[:80]!r}")

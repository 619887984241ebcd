"""What a worker answers to a roll call: on which host it runs, and how many tasks.

The operator asks before it ends some of a group's workers, so that idle ones go first.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass


def host_name() -> str:
    """In Kubernetes the pod's name."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


@dataclass(frozen=True)
class Presence:
    host: str
    running: int
    """Tasks that have been begun and are not over."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Presence":
        """Raises ValueError for what no worker answers."""
        match json.loads(data):
            case {"host": str(host), "running": int(running)} if running >= 0:
                return cls(host, running)
        raise ValueError(f"no answer to a roll call: {data[:80]!r}")

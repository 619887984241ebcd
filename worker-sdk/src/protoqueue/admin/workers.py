"""Asking the workers of a group for their status."""

import contextlib

from protoqueue.broker import Broker
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.worker_status import WorkerStatus


async def answering_workers(broker: Broker, group: GroupName, wait_s: float) -> list[WorkerStatus]:
    """Those that answer within `wait_s`, sorted by host."""
    found = []
    for answer in await broker.call_all(group.status_requests, b"", wait_s):
        with contextlib.suppress(ValueError):  # others may answer on this subject too
            found.append(WorkerStatus.decode(answer))
    return sorted(found, key=lambda worker: worker.host)

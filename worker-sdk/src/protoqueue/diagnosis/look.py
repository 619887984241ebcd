"""What NATS and the workers tell of a queue: what `diagnose` goes by, beside what Kubernetes says."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protoqueue.admin.inspection import Inspection, inspect_queue
from protoqueue.admin.stats import GroupStats
from protoqueue.diagnosis.facts import Group
from protoqueue.diagnosis.resources import Pod, Resource
from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue.queue import Queue
from protoqueue.task import DEFAULT_TIMEOUT_S


@dataclass(frozen=True)
class Look:
    """A look into a queue, and the workers of each of its groups that answered."""

    inspection: Inspection
    workers: Mapping[str, Sequence[WorkerStatus]]


async def look_into(queue: Queue, wait: float = 0.5) -> Look:
    """Give workers `wait` seconds to answer. Raises QueueNotFound and Unavailable."""
    inspection = await inspect_queue(queue._broker, queue._settings, DEFAULT_TIMEOUT_S)  # noqa: SLF001
    names = sorted(inspection.stats.groups)
    answers = await asyncio.gather(*(queue.workers(each, wait=wait) for each in names))
    return Look(inspection, dict(zip(names, answers, strict=True)))


def groups_of(
    look: Look | None, resources: Mapping[str, Resource], pods: Mapping[str, Sequence[Pod]] | None
) -> list[Group]:
    """The groups that NATS or Kubernetes knows, by name. No `pods`: these could not be asked."""
    stats = look.inspection.stats.groups if look else {}
    return [
        Group(
            name,
            stats.get(name, GroupStats()),
            look.workers.get(name, ()) if look else (),
            resources.get(name),
            pods.get(name, ()) if pods is not None else (),
            pods is not None,
            look.inspection.redelivered.get(name, 0) if look else 0,
            look.inspection.rate_limits.get(name) if look else None,
        )
        for name in sorted({*resources, *stats})
    ]

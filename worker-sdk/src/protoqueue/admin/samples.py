"""What a queue held over time, as recorded by the operator for charts."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from google.protobuf.message import DecodeError

from protoqueue.broker import Broker
from protoqueue.protocol.buckets import SAMPLES_BUCKET
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.samples import COARSE, FINE, UNKNOWN, Resolution
from protoqueue.protocol.v1 import samples_pb2 as pb


@dataclass(frozen=True)
class QueueSample:
    """A queue within one step of time, which begins `at`. Counts of tasks are the highest within it.

    `arrivals` are tasks that became due for a worker, retries among them, and `completions` attempts that ended, both
    as JetStream counts deliveries: one that is repeated counts again. `oldest_age` is that of the oldest task that
    waits or is in flight, and None where there is none. The workers are those of all groups at the end of the step,
    None where the operator runs none or does not know.
    """

    at: datetime
    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    arrivals: int
    completions: int
    oldest_age: timedelta | None
    workers_desired: int | None
    workers_available: int | None


@dataclass(frozen=True)
class WorkerChange:
    """A change of the number of a group's workers, with the reason and message of its condition Scaling."""

    at: datetime
    group: str
    before: int
    after: int
    reason: str
    message: str


@dataclass(frozen=True)
class QueueSamples:
    """Samples one `step` apart, oldest first. One is missing where nothing was measured, as while NATS was away."""

    step: timedelta
    samples: list[QueueSample]
    changes: list[WorkerChange]


async def read_samples(
    broker: Broker, queue: QueueName, since: datetime, now: datetime, timeout_s: float
) -> QueueSamples:
    """Those of steps that begin at `since` or later, in the finest resolution that reaches back so far.

    Raises Unavailable and PermissionDenied. Nothing is found where no operator keeps samples.
    """
    resolution = FINE if now - since <= timedelta(seconds=FINE.kept_s + FINE.step_s) else COARSE
    newest = resolution.start_of(now.timestamp())
    oldest = max(resolution.start_of(since.timestamp()), newest - (resolution.slots - 1) * resolution.block_s)
    starts = range(oldest, newest + 1, resolution.block_s)
    found = await asyncio.gather(
        *(broker.read_value(SAMPLES_BUCKET, resolution.key(queue, start), timeout_s) for start in starts)
    )
    blocks = [
        block for start, data in zip(starts, found, strict=True) if data and (block := _block(data, start, resolution))
    ]
    return QueueSamples(
        timedelta(seconds=resolution.step_s),
        [sample for block in blocks for sample in _samples(block) if sample.at >= since],
        [change for block in blocks for change in _changes(block) if change.at >= since],
    )


def _block(data: bytes, start: int, resolution: Resolution) -> pb.SampleBlock | None:
    """None if the slot still holds an earlier block, or something else."""
    try:
        block = pb.SampleBlock.FromString(data)
    except DecodeError:
        return None
    return block if (block.start, block.step) == (start, resolution.step_s) else None


def _samples(block: pb.SampleBlock) -> Iterable[QueueSample]:
    columns = (
        block.waiting, block.in_flight, block.scheduled, block.dead, block.arrivals, block.completions,
        block.oldest_age, block.workers_desired, block.workers_available,
    )  # fmt: skip
    for index, *counts, age, desired, available in zip_longest(block.index, *columns):
        if index is None:  # columns of another version
            return
        waiting, in_flight, scheduled, dead, arrivals, completions = (count or 0 for count in counts)
        yield QueueSample(
            _moment(block.start + index * block.step),
            waiting,
            in_flight,
            scheduled,
            dead,
            arrivals,
            completions,
            oldest_age=None if (seconds := _known(age)) is None else timedelta(seconds=seconds),
            workers_desired=_known(desired),
            workers_available=_known(available),
        )


def _changes(block: pb.SampleBlock) -> Iterable[WorkerChange]:
    for change in block.changes:
        yield WorkerChange(_moment(change.at), change.group, change.before, change.after, change.reason, change.message)


def _known(value: int | None) -> int | None:
    return None if value is None or value <= UNKNOWN else value


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

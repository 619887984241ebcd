"""Dead letters by the thousand, as workers write them, for tests and benchmarks that have no time to fail tasks."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client as Nats

from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.task_codec import encode_task
from waiting import eventually

FIRST_FAILED_AT = datetime(2026, 11, 1, tzinfo=UTC)
"""Of the first letter; each later one failed a second later."""

_FLUSHED_EACH = 1000


def task_id(number: int) -> str:
    return f"task-{number}"


def _chosen(values: Sequence[str], number: int) -> str:
    return values[number % len(values)]


async def bury(
    nats: Nats,
    queue: QueueName,
    numbers: range,
    *,
    groups: Sequence[str] = ("mailers",),
    types: Sequence[str] = ("welcome",),
    reasons: Sequence[str] = ("MaxAttempts",),
    error_types: Sequence[str] = ("ValueError",),
    size: Callable[[int], int] = lambda _: 64,
    ordering_key: Callable[[int], str] = lambda _: "",
) -> None:
    """Store a letter for each number; groups, types, reasons and errors come in turns. Returns once they are stored."""
    before = await stored(nats, queue)
    for number in numbers:
        headers = {
            Header.MSG_ID: f"{task_id(number)}:dead",
            Header.TRACE_PARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            Header.REASON: _chosen(reasons, number),
            Header.ERROR: f"no luck with {number}",
            Header.ERROR_TYPE: _chosen(error_types, number),
            Header.ATTEMPTS: "20",
            Header.GROUP: _chosen(groups, number),
            Header.WORKER: "mailers-7d9f-x2x4q",
            Header.FAILED_AT: (FIRST_FAILED_AT + timedelta(seconds=number)).isoformat(timespec="milliseconds"),
        }
        data = encode_task(
            task_id(number), b"x" * size(number), _chosen(types, number), ordering_key=ordering_key(number)
        )
        await nats.publish(queue.dead_letter(_chosen(groups, number)), data, headers=headers)
        if number % _FLUSHED_EACH == _FLUSHED_EACH - 1:
            await nats.flush(60)
    await nats.flush(60)

    async def all_stored() -> bool:
        return await stored(nats, queue) == before + len(numbers)

    await eventually(all_stored)


async def stored(nats: Nats, queue: QueueName) -> int:
    """How many letters the queue has."""
    info = await nats.jetstream().stream_info(queue.dead_letter_stream)
    return int(info.state.messages)

"""Message ids of retries: no two tasks share one, and a crash makes no second retry of any task."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import PubAck

from nats_server import taken_in
from protoqueue import Queue, Snooze, Task
from protoqueue.broker import ACK, ConnectionOptions, JetStreamBroker
from protoqueue.broker.override import use_broker
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import encode_task
from protoqueue.protocol.task_ids import new_task_id
from provisioning import GroupSpec
from waiting import eventually

QUICK = {"initial_delay": 0.1, "multiplier": 1, "jitter": 0.0, "max_attempts": 3}
ANOTHER_HOUR = QUICK | {"initial_delay": 3600, "max_delay": 3600}

Put: TypeAlias = Callable[[Queue, Nats], Awaitable[None]]


async def publish(nc: Nats, queue: QueueName, task_id: str, message_id: str | None = None) -> PubAck:
    """What another producer may publish, with whatever ids it likes."""
    task = encode_task(task_id, b"{}", content_type="application/json")
    headers = {Header.MSG_ID: message_id} if message_id else None
    return await nc.jetstream().publish(queue.task(0), task, headers=headers)


async def deliver_and_take_back(nc: Nats, group: GroupName, count: int) -> None:
    """Whoever gets these tasks next does not get them for the first time."""
    consumer = await nc.jetstream().pull_subscribe_bind(group.level_consumer(0), stream=group.queue.stream)
    for message in await consumer.fetch(count):
        await message.nak()
    await consumer.unsubscribe()


def as_enqueued(**options: object) -> Put:
    async def put(queue: Queue, _nc: Nats) -> None:
        await queue.enqueue({}, priority=1, **options)  # type: ignore[arg-type]

    return put


async def as_another_producer_numbers(queue: Queue, nc: Nats) -> None:
    await publish(nc, QueueName.parse(queue.name), "1")


async def as_retried(queue: Queue, _nc: Nats) -> None:
    await queue.enqueue({}, priority=1)
    (task,) = await queue.receive(1, wait=60, group="mailers")
    await task.retry(0)


async def as_redriven(queue: Queue, _nc: Nats) -> None:
    await queue.enqueue({}, priority=1)
    (task,) = await queue.receive(1, wait=60, group="mailers")
    await task.retry(0)
    (task,) = await queue.receive(1, wait=60, group="mailers")
    await task.reject()
    assert await queue.redrive() == 1


class DyingBeforeAcks(JetStreamBroker):
    """Its first two acks never leave, as when the process has died before each."""

    left = 2

    async def answer(self, reply: str, token: bytes) -> None:
        if token == ACK and self.left:
            self.left -= 1
        else:
            await super().answer(reply, token)


@pytest.mark.parametrize("how", [ValueError, lambda: Snooze(3600)], ids=["failed", "snoozed"])
@pytest.mark.parametrize(
    "put",
    [as_enqueued(), as_enqueued(delay=0.1), as_enqueued(dedup_id="1"), as_another_producer_numbers, as_retried,
     as_redriven],
    ids=["enqueued", "delayed", "deduplicated", "numbered", "retried", "redriven"],
)  # fmt: skip
async def test_crashes_between_storing_a_retry_and_the_ack_make_no_second_one(
    make_queue, make_worker, start, server, nc: Nats, put: Put, how: Callable[[], Exception]
) -> None:
    queue = await make_queue(GroupSpec(visibility_s=0.3, retry=ANOTHER_HOUR))
    await put(queue, nc)
    broker = await DyingBeforeAcks.connect(ConnectionOptions.read(server.url, None, None), 5)
    with use_broker(broker):
        worker, seen = make_worker(), list[int]()

        @worker.handler
        async def fail(task: Task) -> None:
            seen.append(task.attempt)
            raise how()

        serving = start(worker)
        await eventually(lambda: len(seen) == 3)

        async def waits() -> bool:
            stats = await queue.stats()
            return stats.waiting + stats.in_flight == 0

        await eventually(waits)
        assert (await queue.stats()).scheduled == 1
        worker.stop()
        await serving
    await broker.close()


async def test_the_retries_of_an_enqueued_task_are_called_after_task_group_and_attempt(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK))
    scheduled = await nc.subscribe(QueueName("default", queue_name).all_scheduled)
    await taken_in(nc)
    worker = make_worker()

    @worker.handler
    async def fail(task: Task) -> None:
        raise ValueError

    receipt = await queue.enqueue({})
    start(worker)
    ids = [(await scheduled.next_msg(60)).headers[Header.MSG_ID] for _ in range(2)]
    assert [name.rpartition(":")[0] for name in ids] == [f"{receipt.id}:mailers:2", f"{receipt.id}:mailers:3"]
    await scheduled.unsubscribe()


@pytest.mark.parametrize("delivered_before", [False, True])
async def test_two_tasks_of_one_id_both_get_their_retries(
    make_queue, make_worker, start, nc: Nats, queue_name, delivered_before: bool
) -> None:
    """Other producers may number their tasks anew in every process."""
    queue = await make_queue(GroupSpec(retry=QUICK))
    group = GroupName(QueueName("default", queue_name), "mailers")
    for _ in range(2):
        await publish(nc, group.queue, "1")
    if delivered_before:
        await deliver_and_take_back(nc, group, 2)
    await attempts_at_each_of_two(queue, make_worker(), start)


async def test_a_task_that_its_producer_sends_anew_after_the_window_gets_retries_of_its_own(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    """Its id is one of ours, and the id of its message the same again: the server has forgotten it."""
    queue = await make_queue(GroupSpec(retry=QUICK), duplicate_window_s=2)
    group = GroupName(QueueName("default", queue_name), "mailers")
    task_id = new_task_id()
    await publish(nc, group.queue, task_id, task_id)

    async def is_stored_anew() -> bool:
        return not (await publish(nc, group.queue, task_id, task_id)).duplicate

    await eventually(is_stored_anew)
    await deliver_and_take_back(nc, group, 2)
    await attempts_at_each_of_two(queue, make_worker(), start)


async def attempts_at_each_of_two(queue: Queue, worker, start) -> None:  # type: ignore[no-untyped-def]
    seen: list[int] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append(task.attempt)
        raise ValueError

    start(worker)

    async def both_are_buried() -> bool:
        return len([letter async for letter in queue.dead_letters()]) == 2

    await eventually(both_are_buried)
    assert sorted(seen) == [1, 1, 2, 2, 3, 3]

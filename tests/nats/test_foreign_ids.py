"""A producer that uses up the message ids of other tasks' retries, dead letters and redrives loses none of them."""

from datetime import UTC, datetime, timedelta

from nats.aio.client import Client as Nats

from protoqueue import Queue, Task
from protoqueue.protocol.message_headers import Header, schedule_at
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec
from waiting import eventually

RETRY = {"initial_delay": 0.1, "multiplier": 1, "jitter": 0.0, "max_attempts": 2}


async def pre_empt(nc: Nats, queue: Queue, *message_ids: str) -> None:
    """Store something of one's own under these ids wherever a producer may publish."""
    name, jetstream = QueueName.parse(queue.name), nc.jetstream()
    for number, message_id in enumerate(message_ids):
        schedule = {
            Header.MSG_ID: message_id,
            Header.SCHEDULE: schedule_at(datetime.now(UTC) + timedelta(hours=1)),
            Header.SCHEDULE_TARGET: name.due(name.task(2)),
        }
        assert not (await jetstream.publish(name.scheduled(f"zz{number}"), b"", headers=schedule)).duplicate
        now = await jetstream.publish(name.task(2), b"", headers={Header.MSG_ID: message_id})
        assert bool(now.duplicate) == (queue._settings.stream == queue._settings.later_stream)


async def test_a_retry_whose_plain_id_another_producer_has_used_up_is_stored_all_the_same(
    make_queue, make_worker, nc, start
) -> None:
    queue = await make_queue(GroupSpec(retry=RETRY))
    worker, seen = make_worker(), []

    @worker.handler("good")
    async def fail(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt))
        raise ValueError

    receipts = [await queue.enqueue(number, type="good") for number in (1, 2, 3)]
    for sequence, receipt in enumerate(receipts, 1):
        await pre_empt(
            nc, queue, f"{receipt.id}:mailers:2", f"{receipt.id}:mailers:2:{sequence}",
            f"{receipt.id}:mailers:dead:{sequence}",
        )  # fmt: skip
    start(worker)
    await eventually(lambda: sorted(seen) == [(n, attempt) for n in (1, 2, 3) for attempt in (1, 2)])

    async def buried() -> bool:
        return {letter.task.id async for letter in queue.dead_letters()} >= {receipt.id for receipt in receipts}

    await eventually(buried)


async def test_a_redrive_whose_id_another_producer_has_used_up_loses_no_task(make_queue, nc) -> None:
    queue = await make_queue()
    receipt = await queue.enqueue(1)
    (received,) = await queue.receive(group="mailers")
    await received.reject()
    (letter,) = [letter async for letter in queue.dead_letters()]
    await pre_empt(nc, queue, f"{receipt.id}:mailers:redrive:{letter.sequence}")
    await queue.purge()
    await letter.redrive()
    (again,) = await queue.receive(group="mailers", wait=60)
    assert again.id == receipt.id

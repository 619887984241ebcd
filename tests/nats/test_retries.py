"""Attempts: when they come, what counts as one, and that none is lost or doubled."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from backends import letters_of
from nats_server import taken_in
from protoqueue import Reject, Retry, Snooze, Task
from protoqueue.broker import ConnectionOptions, JetStreamBroker, Message
from protoqueue.protocol.message_headers import Header, schedule_at
from protoqueue.protocol.message_ids import retry_message_id
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import encode_task
from protoqueue.settlement.message_seal import Seals
from provisioning import GroupSpec, QueueSpec, api
from waiting import eventually

QUICK = {"initial_delay": 0.4, "multiplier": 2, "jitter": 0.0, "max_attempts": 3}


async def test_a_failing_task_is_retried_with_growing_delays_and_then_buried(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK))
    worker = make_worker()
    seen: list[tuple[int, datetime]] = []
    scheduled: list[tuple[datetime, datetime]] = []

    async def note(retry: Msg) -> None:
        assert retry.headers
        scheduled.append(
            (datetime.fromisoformat(retry.headers[Header.SCHEDULE].removeprefix("@at ")), datetime.now(UTC))
        )

    retries = await nc.subscribe(QueueName("default", queue_name).all_scheduled, cb=note)
    await taken_in(nc)

    @worker.handler
    async def fail(payload: dict[str, Any], task: Task) -> None:
        seen.append((task.attempt, datetime.now(UTC)))
        raise ValueError("no luck")

    receipt = await queue.enqueue({"n": 1}, metadata={"a": "b"}, type="x")
    start(worker)
    letters = await eventually(lambda: letters_of(queue))
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    await retries.unsubscribe()
    moments = [moment for _, moment in seen]
    for failed, again, (due, told), delay_s in zip(moments, moments[1:], scheduled, (0.4, 0.8), strict=False):
        delay, rounding = timedelta(seconds=delay_s), timedelta(milliseconds=1)
        assert failed + delay <= due <= told + delay + rounding  # how late it comes is the server's and the machine's
        assert again >= due
    assert len(scheduled) == 2
    (letter,) = letters
    assert (letter.task.id, letter.reason, letter.attempts, letter.group) == (receipt.id, "MaxAttempts", 3, "mailers")
    assert (letter.error_type, letter.error) == ("ValueError", "no luck")
    assert (letter.task.data, letter.task.type, letter.task.metadata) == (b'{"n":1}', "x", {"a": "b"})
    assert letter.worker
    assert letter.failed_at is not None


async def test_a_dead_letter_carries_the_headers_other_languages_read(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}))
    worker = make_worker()

    @worker.handler
    async def refuse(payload: dict[str, Any]) -> None:
        raise Reject("wörong\naddress")

    await queue.enqueue({"to": "nobody"})
    start(worker)
    await eventually(lambda: letters_of(queue))
    name = QueueName("default", queue_name)
    stored = await nc.jetstream().get_msg(name.dead_letter_stream, 1)
    assert stored.subject == f"pqdlq.default.{queue_name}.mailers"
    headers = stored.headers or {}
    assert headers["Pq-Reason"] == "Rejected"
    assert headers["Pq-Error-Type"] == "Reject"
    assert headers["Pq-Attempts"] == "1"
    assert headers["Pq-Group"] == "mailers"
    assert headers["Pq-Stream-Seq"] == "1"
    assert headers["Pq-Worker"]
    assert headers["Pq-Failed-At"]
    (letter,) = await letters_of(queue)
    assert letter.error == "wörong address"


async def test_retry_with_a_delay_counts_as_an_attempt_and_snooze_does_not(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 30}))
    worker = make_worker()
    seen: list[int] = []

    @worker.handler
    async def handle(task: Task) -> None:
        seen.append(task.attempt)
        if len(seen) <= 3:
            raise Snooze(0.05)
        if len(seen) == 4:
            raise Retry("not yet", delay=0.05)

    await queue.enqueue({})
    start(worker)
    await eventually(lambda: len(seen) == 5)
    assert seen == [1, 1, 1, 1, 2]
    assert not await letters_of(queue)


async def test_a_waiting_retry_is_scheduled_rather_than_in_flight(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 60}))
    worker = make_worker()

    @worker.handler
    async def fail(payload: dict[str, Any]) -> None:
        raise ValueError

    await queue.enqueue({})
    start(worker)

    async def waits() -> bool:
        stats = await queue.stats()
        return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 1)

    await eventually(waits)


async def test_a_crash_between_retry_and_ack_makes_no_second_retry(
    make_queue, make_worker, start, nc: Nats, queue_name, server
) -> None:
    """The state such a crash leaves: the task was delivered once before, and its retry lies in LATER."""
    queue = await make_queue(GroupSpec(visibility_s=0.5, retry=QUICK | {"initial_delay": 1.0}))
    receipt = await queue.enqueue({})
    group = GroupName(QueueName("default", queue_name), "mailers")
    lost = await nc.jetstream().pull_subscribe_bind(group.level_consumer(1), stream=group.queue.stream)
    (message,) = await lost.fetch(1)
    headers = {
        Header.MSG_ID: retry_message_id(receipt.id, "mailers", 2),
        Header.ATTEMPT: "2",
        Header.SCHEDULE: "@every 1h",
        Header.SCHEDULE_TARGET: group.queue.due(group.queue.retry("mailers", 1)),
    }
    dying = await JetStreamBroker.connect(ConnectionOptions(server.url), 5)
    await Seals(dying).publish(Message(group.queue.scheduled("left-by-the-crash"), message.data, headers), group, 5)
    await dying.close()
    worker = make_worker()
    seen: list[int] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append(task.attempt)
        raise ValueError

    start(worker)
    await eventually(lambda: seen)

    async def only_the_first_is_left() -> bool:
        stats = await queue.stats()
        return (stats.waiting + stats.in_flight, stats.scheduled) == (0, 1)

    await eventually(only_the_first_is_left)
    info = await api(nc, f"STREAM.INFO.{QueueSpec(queue_name).later_stream}", {"subjects_filter": ">"})
    assert list(info["state"]["subjects"]) == [group.queue.scheduled("left-by-the-crash")]


async def test_a_redriven_task_keeps_its_id_and_gets_all_its_attempts_again(make_queue, make_worker, start) -> None:
    """Also within the window in which the ids of its first retries are still known."""
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 0.05}))
    worker = make_worker()
    seen: list[tuple[str, int]] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append((task.id, task.attempt))
        raise ValueError

    receipt = await queue.enqueue({})
    start(worker)
    await eventually(lambda: letters_of(queue))
    for redrives in (1, 2):
        assert await queue.redrive() == 1

        async def buried_again(redrives: int = redrives) -> bool:
            return [letter.redrives for letter in await letters_of(queue)] == [redrives]

        await eventually(buried_again)
    assert seen == [(receipt.id, 1), (receipt.id, 2), (receipt.id, 3)] * 3


async def test_a_recurring_task_keeps_one_id_through_its_retries(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    """Each firing repeats the same bytes, so the id is read from the schedule and the first delivery."""
    queue = await make_queue(GroupSpec(retry=QUICK | {"initial_delay": 0.05}))
    name = QueueName("default", queue_name)
    await nc.jetstream().publish(
        name.cron("nightly"),
        encode_task("nightly", b"{}", content_type="application/json"),
        headers={
            Header.SCHEDULE: schedule_at(datetime.now(UTC) + timedelta(seconds=0.3)),
            Header.SCHEDULE_TARGET: name.due(name.task(1)),
        },
    )
    worker = make_worker()
    seen: list[tuple[str, int]] = []

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append((task.id, task.attempt))
        raise ValueError

    start(worker)
    letters = await eventually(lambda: letters_of(queue))
    task_id = letters[0].task.id
    assert task_id.startswith("nightly@")
    assert seen == [(task_id, 1), (task_id, 2), (task_id, 3)]

"""What enqueue promises: stored, stored once, stored all or none, or a clear error."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import protoqueue
from nats_server import NatsServer
from protoqueue import InvalidTask, NewTask, PayloadTooLarge, QueueFull, QueueNotFound, Unavailable
from provisioning import GroupSpec, QueueSpec
from waiting import eventually


async def test_a_queue_that_does_not_exist_is_named_with_what_to_do(client) -> None:
    with pytest.raises(QueueNotFound, match=r"kubectl wait .*queue/nowhere -n default"):
        await client.queue("default/nowhere")
    with pytest.raises(protoqueue.ConfigurationError, match="namespace"):
        await client.queue("nowhere")


async def test_no_nats_is_a_clear_error_within_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no NATS server responded at nats://127\.0\.0\.1:1 within 0\.5 s"):
        await protoqueue.connect("nats://127.0.0.1:1", timeout=0.5)
    assert time.monotonic() - began < 5


async def test_a_refused_user_is_a_configuration_error(tmp_path) -> None:
    server = NatsServer(tmp_path, "authorization { user: a, password: b }", login="a:b@")
    await server.start()
    with pytest.raises(protoqueue.ConfigurationError, match="credentials") as refused:
        await protoqueue.connect(server.url.replace("//", "//a:wrong@"), timeout=1)
    assert "wrong" not in str(refused.value)
    server.stop()


async def test_a_second_task_of_one_dedup_id_is_not_stored(make_queue) -> None:
    queue = await make_queue()
    first = await queue.enqueue(1, dedup_id="welcome-1")
    second = await queue.enqueue(2, dedup_id="welcome-1")
    assert (first.duplicate, second.duplicate) == (False, True)
    later = await queue.enqueue(3, dedup_id="welcome-2", delay=60)
    again = await queue.enqueue(4, dedup_id="welcome-2", delay=60)
    assert (later.duplicate, again.duplicate) == (False, True)
    stats = await queue.stats()
    assert (stats.waiting, stats.scheduled) == (1, 1)


async def test_a_batch_with_duplicates_still_stores_the_rest(make_queue) -> None:
    queue = await make_queue()
    await queue.enqueue("old", dedup_id="a")
    items = [NewTask(n, dedup_id=name) for n, name in enumerate(["a", "b", "c", "b"])]
    receipts = await queue.enqueue_batch([*items, "plain", NewTask("late", delay=60, dedup_id="d")])
    assert [receipt.duplicate for receipt in receipts[:1]] == [True]
    assert sorted(receipt.duplicate for receipt in receipts[1:4]) == [False, False, True]
    assert [receipt.duplicate for receipt in receipts[4:]] == [False, False]
    stats = await queue.stats()
    assert (stats.waiting, stats.scheduled) == (4, 1)


async def test_a_batch_of_thousands_arrives_whole_and_its_receipts_in_order(make_queue) -> None:
    queue = await make_queue(levels=1)
    receipts = await queue.enqueue_batch(NewTask(number, delay=60 if number % 2 else None) for number in range(2500))
    assert len({receipt.id for receipt in receipts}) == 2500
    stats = await queue.stats()
    assert (stats.waiting, stats.scheduled) == (1250, 1250)


async def test_a_batch_that_does_not_fit_is_not_stored_at_all(make_queue) -> None:
    queue = await make_queue(limits={"max_msgs": 10})
    with pytest.raises(QueueFull):
        await queue.enqueue_batch(list(range(11)))
    assert (await queue.stats()).waiting == 0


async def test_nothing_of_a_batch_is_sent_when_one_item_is_invalid(make_queue) -> None:
    queue = await make_queue()
    with pytest.raises(InvalidTask):
        await queue.enqueue_batch([1, 2, NewTask(3, priority=11)])
    assert (await queue.stats()).waiting == 0


async def test_a_full_queue_says_so_and_takes_tasks_again_once_there_is_room(make_queue, make_worker, start) -> None:
    queue = await make_queue(limits={"max_msgs": 2})
    await queue.enqueue_batch([1, 2])
    with pytest.raises(QueueFull, match=r"spec\.limits"):
        await queue.enqueue(3)
    worker = make_worker()

    @worker.handler
    async def work(payload: int) -> None: ...

    start(worker)

    async def has_room() -> bool:
        try:
            return bool(await queue.enqueue(3))
        except QueueFull:
            return False

    await eventually(has_room)


async def test_what_is_delayed_is_never_early(make_queue, make_worker, start) -> None:
    queue = await make_queue()
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: float) -> None:
        seen.append((payload, time.time()))

    start(worker)
    now = datetime.now(UTC)
    for delay in (0.2, 0.55, 1.1):
        await queue.enqueue(time.time() + delay, delay=delay)
    await queue.enqueue((now + timedelta(seconds=0.7)).timestamp(), at=now + timedelta(seconds=0.7))
    await queue.enqueue(0.0, at=now - timedelta(hours=1))
    await eventually(lambda: len(seen) == 5)
    assert all(started >= due for due, started in seen)
    assert all(started - due < 2 for due, started in seen if due)


async def test_a_payload_over_the_limit_is_refused_before_it_is_sent(make_queue) -> None:
    queue = await make_queue(max_task_size=1000)
    await queue.enqueue(b"x" * 500)
    with pytest.raises(PayloadTooLarge, match="1000 are allowed"):
        await queue.enqueue(b"x" * 1000)
    unlimited = queue._settings.max_task_size == 0
    assert not unlimited
    assert (await queue.stats()).waiting == 1


async def test_a_payload_as_large_as_allowed_still_fits_as_a_dead_letter(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 2, "initial_delay": 0.05}))
    worker = make_worker()

    @worker.handler
    async def fail(payload: bytes) -> None:
        raise ValueError("x" * 100_000)

    await queue.enqueue(b"x" * (1024 * 1024 - 4096 - 200))
    with pytest.raises(PayloadTooLarge):
        await queue.enqueue(b"x" * (1024 * 1024 - 4096))
    start(worker)

    async def buried() -> bool:
        return [letter.attempts async for letter in queue.dead_letters()] == [2]

    await eventually(buried)


@pytest.mark.parametrize(
    ("payload", "options", "says"),
    [
        (object(), {}, "pass bytes, a protobuf message"),
        (1, {"priority": 11}, "not 11"),
        (1, {"priority": -1}, "not -1"),
        (1, {"at": datetime(2030, 1, 1)}, "time zone"),
        (1, {"delay": -1}, "negative"),
        (1, {"delay": float("inf")}, "not a duration in seconds"),
        (1, {"delay": 1, "at": datetime.now(UTC)}, "mutually exclusive"),
        (1, {"dedup_id": ""}, "dedup_id"),
        (1, {"dedup_id": "a\r\nNats-TTL: 1s"}, "dedup_id"),
        (1, {"ordering_key": "a"}, "spec.ordering"),
        (1, {"metadata": {"a": object()}}, "metadata"),
        (1, {"metadata": {"a": float("nan")}}, "metadata"),
        (1, {"metadata": "text"}, "metadata must be of type Mapping, not str"),
        (1, {"priority": "high"}, "priority must be of type int, not str"),
        (1, {"priority": 5.5}, "priority must be of type int, not float"),
        (1, {"priority": True}, "priority must be of type int, not bool"),
        (1, {"type": 7}, "type must be of type str, not int"),
        (1, {"type": "\udc80"}, "cannot be enqueued"),
        (1, {"at": "tomorrow"}, "at must be of type datetime, not str"),
        (1, {"at": datetime.max.replace(tzinfo=UTC)}, "too far ahead"),
        (1, {"expires": datetime.max.replace(tzinfo=UTC)}, "too far ahead"),
        (1, {"delay": "5s"}, "not a duration in seconds"),
        (1, {"delay": timedelta.max}, "too long"),
        (1, {"expires": "soon"}, "not a duration in seconds"),
        (1, {"expires": -1}, "negative"),
        (1, {"dedup_id": 7}, "dedup_id must be of type str, not int"),
        (1, {"dedup_id": "x" * 257}, "dedup_id"),
        ({"a": {1, 2, object}}, {}, "cannot be encoded"),
        ([float("nan")], {}, "no NaN or infinity"),
        ({"a": -float("inf")}, {}, "no NaN or infinity"),
    ],
)
async def test_a_task_that_cannot_be_is_refused_with_what_to_do(
    make_queue, payload: Any, options: dict[str, Any], says: str
) -> None:
    queue = await make_queue()
    with pytest.raises(InvalidTask, match=says):
        await queue.enqueue(payload, **options)
    assert (await queue.stats()).waiting == 0


async def test_a_priority_that_is_no_integer_is_refused_also_beside_one_that_is(make_queue) -> None:
    """It would be stored where no consumer looks."""
    queue = await make_queue()
    with pytest.raises(
        InvalidTask, match="item 1 of the batch, counted from 0: priority must be of type int, not float"
    ):
        await queue.enqueue_batch([NewTask(1, priority=5), NewTask(2, priority=5.0)])
    assert (await queue.stats()).waiting == 0


@pytest.mark.parametrize("payload", [{"to": "ada@example.org"}, "text", b"bytes"])
async def test_one_payload_is_not_taken_for_a_batch_of_its_parts(make_queue, payload: Any) -> None:
    queue = await make_queue()
    with pytest.raises(InvalidTask, match="use enqueue"):
        await queue.enqueue_batch(payload)
    assert (await queue.stats()).waiting == 0


async def test_a_queue_whose_streams_are_gone_is_not_mistaken_for_a_slow_server(make_queue, nc, queue_name) -> None:
    queue = await make_queue()
    spec = QueueSpec(queue_name)
    for stream in {spec.stream, spec.later_stream}:
        await nc.jetstream().delete_stream(stream)
    for delay in (None, 60):
        with pytest.raises(Unavailable, match=r"no responders: check that the Queue still exists.*timeout 0\.3 s"):
            await queue.enqueue(1, delay=delay, timeout=0.3)


async def test_what_only_reads_like_no_number_is_a_payload(make_queue) -> None:
    queue = await make_queue()
    assert (await queue.enqueue({"NaN": "Infinity"})).id


async def test_many_producers_at_once_share_one_connection(make_queue) -> None:
    queue = await make_queue(levels=1)
    await asyncio.gather(*(queue.enqueue(number) for number in range(300)))
    assert (await queue.stats()).waiting == 300

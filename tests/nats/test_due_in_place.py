"""Tasks that have come due are worked where they lie: beside the new ones, or in another stream than those."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import json_format
from nats.aio.client import Client as Nats

from protoqueue import NewTask, QueueFull, Task
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.message_headers import Header, schedule_at
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import encode_task
from provisioning import GroupSpec, QueueSpec, api, group_config, stream_configs
from waiting import eventually

PLENTY = {"max_msgs": 100_000}
QUICK = {"initial_delay": 0.05, "multiplier": 1, "jitter": 0.0, "max_attempts": 3}
LAYOUTS = pytest.mark.parametrize("limits", [{}, PLENTY], ids=["one stream", "two streams"])


async def all_due(queue) -> bool:
    return (await queue.stats()).scheduled == 0


async def is_over(queue) -> bool:
    stats = await queue.stats()
    return (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)


async def counts(queue) -> tuple[int, int, int]:
    stats = await queue.stats()
    return stats.waiting, stats.in_flight, stats.scheduled


async def subjects_of(nc: Nats, stream: str) -> dict[str, int]:
    return (await api(nc, f"STREAM.INFO.{stream}", {"subjects_filter": ">"}))["state"].get("subjects") or {}


async def test_no_stream_of_a_queue_without_ordering_sources_another(make_queue, nc, queue_name) -> None:
    await make_queue(sourced=False, limits=PLENTY)
    name = QueueName("default", queue_name)
    for stream in (name.stream, name.new_stream):
        assert "sources" not in (await api(nc, f"STREAM.INFO.{stream}", {}))["config"]


@pytest.mark.parametrize(("concurrency", "service_s"), [(1, 0.0), (10, 0.0), (4, 0.01)])
@pytest.mark.parametrize("strict", [False, True])
async def test_new_and_due_tasks_of_a_level_get_as_much_within_a_tenth(
    make_queue, make_worker, start, concurrency: int, service_s: float, strict: bool
) -> None:
    queue = await make_queue(GroupSpec(strict=strict), sourced=False, limits=PLENTY, levels=1)
    sample = 400 if service_s else 2000
    await queue.enqueue_batch([NewTask("due", delay=0.05) for _ in range(sample)])
    await eventually(lambda: all_due(queue))
    await queue.enqueue_batch(["new"] * sample)
    worker, order = make_worker(concurrency=concurrency), []

    @worker.handler
    async def work(payload: str) -> None:
        order.append(payload)
        if service_s:
            await asyncio.sleep(service_s)

    start(worker)
    await eventually(lambda: len(order) >= sample)
    assert Counter(order[:sample])["new"] == pytest.approx(sample / 2, rel=0.1)
    await eventually(lambda: len(order) == 2 * sample)


async def test_levels_keep_their_weights_though_one_of_them_has_tasks_in_two_streams(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(weights=[1, 3]), sourced=False, limits=PLENTY, levels=2)
    sample = 1600
    await queue.enqueue_batch([NewTask("low", delay=0.05, priority=1) for _ in range(sample)])
    await eventually(lambda: all_due(queue))
    await queue.enqueue_batch([NewTask("low", priority=1) for _ in range(sample)])
    await queue.enqueue_batch([NewTask("high", priority=10) for _ in range(sample)])
    worker, order = make_worker(concurrency=4), []

    @worker.handler
    async def work(payload: str) -> None:
        order.append(payload)

    start(worker)
    await eventually(lambda: len(order) >= sample)
    assert Counter(order[:sample])["high"] == pytest.approx(sample * 3 / 4, rel=0.1)


@LAYOUTS
async def test_each_task_is_counted_peeked_and_received_once(make_queue, limits) -> None:
    queue = await make_queue(sourced=False, limits=limits)
    assert (await queue.enqueue("later", delay=600)).id
    await queue.enqueue("due", delay=0.05)
    await eventually(lambda: _counted(queue, (1, 0, 1)))
    await queue.enqueue("new")
    assert await counts(queue) == (2, 0, 1)
    assert [task.data for task in await queue.peek()] == [b'"due"', b'"new"']
    assert [one.task.data for one in await queue.peek_scheduled()] == [b'"later"']
    assert (await queue.stats()).levels == {0: 0, 1: 2, 2: 0}
    received = await queue.receive(10, group="mailers")
    assert sorted(task.payload() for task in received) == ["due", "new"]
    assert await counts(queue) == (0, 2, 1)
    for task in received:
        await task.ack()
    await eventually(lambda: _counted(queue, (0, 0, 1)))


async def _counts(queue, expected: tuple[int, int, int]) -> bool:
    return await counts(queue) == expected


async def _counted(queue, expected: tuple[int, int, int]) -> bool:
    """And what waits is there to be seen: for a moment the server may not have counted what it has just scheduled."""
    return len(await queue.peek(10)) == expected[0] and await counts(queue) == expected


@LAYOUTS
async def test_the_oldest_task_is_as_old_as_it_is_due(make_queue, limits) -> None:
    queue = await make_queue(sourced=False, limits=limits)
    await queue.enqueue("later", delay=600)
    await asyncio.sleep(0.5)
    assert (await queue.stats()).oldest_age is None
    await queue.enqueue("due", delay=0.01)
    await eventually(lambda: _counted(queue, (1, 0, 1)))
    assert (await queue.stats()).oldest_age < timedelta(seconds=0.5) + timedelta(seconds=30)
    began = datetime.now(UTC)
    await eventually(lambda: _older(queue, timedelta(seconds=0.3)))
    assert datetime.now(UTC) - began < timedelta(seconds=60)


async def _older(queue, age: timedelta) -> bool:
    oldest = (await queue.stats()).oldest_age
    return oldest is not None and oldest > age


@LAYOUTS
async def test_what_is_due_and_waits_can_be_cancelled_and_its_neighbours_stay(make_queue, limits) -> None:
    queue = await make_queue(sourced=False, limits=limits)
    receipts = [await queue.enqueue(n, delay=0.05, dedup_id=str(n)) for n in range(3)]
    await eventually(lambda: _counted(queue, (3, 0, 0)))
    assert await queue.cancel(receipts[1].id)
    assert not await queue.cancel(receipts[1].id)
    assert sorted(task.payload() for task in await queue.receive(10, group="mailers")) == [0, 2]
    assert not (await queue.enqueue(1, delay=60, dedup_id="1")).duplicate


@LAYOUTS
async def test_a_purge_leaves_what_is_scheduled_and_what_recurs(make_queue, nc, queue_name, limits) -> None:
    queue, name = await make_queue(sourced=False, limits=limits), QueueName("default", queue_name)
    yearly = {Header.SCHEDULE: "0 0 0 1 1 *", Header.SCHEDULE_TARGET: name.due(name.task(0))}
    await nc.jetstream().publish(name.cron("yearly"), encode_task("yearly", b"{}"), headers=yearly)
    await queue.enqueue("later", delay=600)
    await queue.enqueue("due", delay=0.05)
    await eventually(lambda: _counted(queue, (1, 0, 1)))
    await queue.enqueue("new")
    assert await queue.purge() == 2
    assert await counts(queue) == (0, 0, 1)
    assert await queue.purge(scheduled=True) == 1
    assert await subjects_of(nc, name.stream) == {name.cron("yearly"): 1}


@LAYOUTS
async def test_two_tasks_of_one_id_and_one_sequence_in_two_streams_are_two_tasks(
    make_queue, make_worker, start, nc, queue_name, limits
) -> None:
    """Of a producer that numbers its tasks anew; what is due first has the sequence of its schedule and one more."""
    name = QueueName("default", queue_name)
    queue = await make_queue(GroupSpec(retry=QUICK), sourced=False, limits=limits, levels=1)
    task = encode_task("7", b"{}", content_type="application/json")
    due = {
        Header.SCHEDULE: schedule_at(datetime.now(UTC) + timedelta(seconds=0.05)),
        Header.SCHEDULE_TARGET: name.due(name.task(0)),
    }
    await nc.jetstream().publish(name.scheduled("7"), task, headers=due)
    await eventually(lambda: _counted(queue, (1, 0, 0)))
    await nc.jetstream().publish(name.task(0), task)
    await nc.jetstream().publish(name.task(0), task)
    worker, seen = make_worker(), list[int]()

    @worker.handler
    async def fail(task: Task) -> None:
        seen.append(task.attempt)
        raise ValueError

    start(worker)
    await eventually(lambda: _dead(queue, 3))
    assert Counter(seen) == {1: 3, 2: 3, 3: 3}


async def _dead(queue, count: int) -> bool:
    return (await queue.stats()).dead == count


async def test_tasks_without_an_id_are_told_apart_by_their_streams(make_queue, nc, queue_name) -> None:
    queue, name = await make_queue(sourced=False, limits=PLENTY, levels=1), QueueName("default", queue_name)
    due = {Header.SCHEDULE: schedule_at(datetime.now(UTC)), Header.SCHEDULE_TARGET: name.due(name.task(0))}
    await nc.jetstream().publish(name.scheduled("x"), b"", headers=due)
    await eventually(lambda: _counted(queue, (1, 0, 0)))
    for _ in range(2):
        await nc.jetstream().publish(name.task(0), b"")
    ids = {task.id for task in await queue.peek()}
    assert ids == {"task@2", "task@1-NEW", "task@2-NEW"}
    assert {task.id for task in await queue.receive(10, group="mailers")} == ids
    assert await queue.cancel("task@2")
    assert {task.id for task in await queue.peek()} == {"task@1-NEW", "task@2-NEW"}
    assert await queue.cancel("task@2-NEW")
    assert [task.id for task in await queue.peek()] == ["task@1-NEW"]


async def test_a_crash_of_one_stream_is_not_counted_for_the_other(make_queue, nc, queue_name) -> None:
    """A task that was handed back is no suspect, though one that crashed has its sequence in the other stream."""
    queue = await make_queue(GroupSpec(visibility_s=0.5), sourced=False, limits=PLENTY, levels=1)
    await queue.enqueue("due", delay=0.05)
    await eventually(lambda: _counted(queue, (1, 0, 0)))
    await queue.enqueue_batch(["first", "second"])  # the second one has the sequence of what is due
    lent = await queue.receive(3, group="mailers")
    assert len(lent) == 3
    for task in lent:
        if task.payload() != "due":
            await task.hand_back()
    again = await queue.receive(2, group="mailers")
    assert sorted(task.payload() for task in again) == ["first", "second"]  # a suspect comes alone


async def test_a_full_queue_takes_what_comes_due_and_works_on_it(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec(retry=QUICK), sourced=False, limits={"max_msgs": 2})
    await queue.enqueue_batch(["due", "due"])
    assert [task.payload() for task in await queue.receive(2, group="mailers")] == ["due", "due"]  # and held
    for _ in range(3):
        await queue.enqueue("late", delay=0.05)
    with pytest.raises(QueueFull):
        await queue.enqueue("refused")
    worker, seen = make_worker(), Counter[str]()

    @worker.handler
    async def work(payload: str, task: Task) -> None:
        seen[payload] += 1
        if task.attempt == 1:
            raise ValueError  # its retry has room too

    start(worker)
    await eventually(lambda: seen["late"] == 6)
    with pytest.raises(QueueFull):
        await queue.enqueue("refused")


@LAYOUTS
async def test_what_is_due_is_kept_no_longer_than_max_age(make_queue, limits) -> None:
    queue = await make_queue(sourced=False, limits=limits | {"max_age": 2_000_000_000}, duplicate_window_s=2)
    await queue.enqueue("kept while it is scheduled", delay=4)
    await eventually(lambda: _counts(queue, (1, 0, 0)), interval_s=0.02)
    await eventually(lambda: _counted(queue, (0, 0, 0)))


async def test_a_delayed_task_that_expires_goes_by_itself(make_queue) -> None:
    queue = await make_queue(sourced=False)
    await queue.enqueue("soon worthless", delay=0.05, expires=1)
    await eventually(lambda: _counts(queue, (1, 0, 0)), interval_s=0.02)
    await eventually(lambda: is_over(queue))
    assert (await queue.stats()).dead == 0


@LAYOUTS
async def test_every_group_of_a_broadcast_queue_gets_what_is_due_once_and_nothing_is_left(
    make_queue, make_worker, start, nc, queue_name, limits
) -> None:
    groups = (GroupSpec("mailers", retry=QUICK), GroupSpec("loggers", retry=QUICK))
    queue = await make_queue(*groups, sourced=False, limits=limits, broadcast=True)
    seen: Counter[tuple[str, int, int]] = Counter()
    for group in ("mailers", "loggers"):
        worker = make_worker(group=group)

        @worker.handler
        async def work(payload: int, task: Task, *, group: str = group) -> None:
            seen[group, payload, task.attempt] += 1
            if group == "mailers" and task.attempt == 1:
                raise ValueError

        start(worker)
    await queue.enqueue_batch([NewTask(n, delay=0.05) for n in range(5)])
    once = {("loggers", n, 1): 1 for n in range(5)}
    twice = {("mailers", n, attempt): 1 for n in range(5) for attempt in (1, 2)}
    await eventually(lambda: seen == once | twice)
    await eventually(lambda: is_over(queue))
    name = QueueName("default", queue_name)
    for stream in {name.stream, *([name.new_stream] if limits else [])}:
        assert await subjects_of(nc, stream) == {}


async def test_receive_takes_from_both_streams_though_one_always_has_enough(make_queue) -> None:
    queue = await make_queue(sourced=False, limits=PLENTY, levels=1)
    await queue.enqueue_batch([NewTask("due", delay=0.05) for _ in range(60)])
    await eventually(lambda: all_due(queue))
    await queue.enqueue_batch(["new"] * 60)
    few = [task.payload() for task in await queue.receive(20, group="mailers")]
    assert Counter(few) == {"due": 10, "new": 10}
    single = [task.payload() for _ in range(40) for task in await queue.receive(1, group="mailers")]
    assert 5 <= Counter(single)["due"] <= 35
    rest = await queue.receive(100, group="mailers")
    assert len(rest) == 60


async def test_a_worker_that_knows_no_streams_works_on_a_queue_without_limits(
    make_queue, make_worker, start, nc, queue_name
) -> None:
    """As one of the version before does: it takes its consumers to be on the queue's stream."""
    queue = await make_queue(sourced=False)
    spec, group = QueueSpec(queue_name, sourced=False), GroupSpec()
    config = group_config(spec, group)
    for consumer in config.consumers:
        consumer.ClearField("stream")
    key = GroupName(spec.queue, group.name).config_key
    await nc.request(f"$KV.{CONFIG_BUCKET}.{key}", json_format.MessageToJson(config).encode(), timeout=5)
    worker, seen = make_worker(), set[str]()

    @worker.handler
    async def work(payload: str) -> None:
        seen.add(payload)

    start(worker)
    await queue.enqueue("new")
    await queue.enqueue("due", delay=0.05)
    await eventually(lambda: seen == {"new", "due"})


async def test_a_delayed_and_an_immediate_task_of_one_dedup_id_are_duplicates_in_one_stream(make_queue) -> None:
    queue = await make_queue(sourced=False)
    first = await queue.enqueue(1, dedup_id="a", delay=60)
    again = await queue.enqueue(1, dedup_id="a")
    assert (again.duplicate, again.id) == (True, first.id)
    batch = await queue.enqueue_batch([NewTask(2, dedup_id="b"), NewTask(2, dedup_id="c", delay=60), NewTask(3)])
    assert [receipt.duplicate for receipt in batch] == [False] * 3
    assert await counts(queue) == (2, 0, 2)


async def test_what_an_earlier_layout_left_is_worked_where_it_lies(
    make_queue, make_worker, start, nc, queue_name
) -> None:
    """LATER of the layout that was sourced: it takes nothing new, fires what it has, and gets the group's consumers."""
    old = QueueSpec(queue_name, sourced=True)
    (later, *_) = stream_configs(old)
    await api(nc, f"STREAM.CREATE.{later['name']}", later)
    counter = {
        "name": "_scheduled",
        "durable_name": "_scheduled",
        "ack_policy": "explicit",
        "filter_subject": old.queue.all_scheduled,
    }
    await api(nc, f"CONSUMER.CREATE.{later['name']}._scheduled", {"stream_name": later["name"], "config": counter})
    for number, delay_s in enumerate((0.05, 2, 600)):
        headers = {
            Header.SCHEDULE: schedule_at(datetime.now(UTC) + timedelta(seconds=delay_s)),
            Header.SCHEDULE_TARGET: old.queue.due(old.queue.task(1)),
        }
        task = encode_task(f"old{number}", b"0", content_type="application/json")
        await nc.jetstream().publish(old.queue.scheduled(f"old{number}"), task, headers=headers)
    await api(nc, f"STREAM.UPDATE.{later['name']}", later | {"subjects": [old.queue.closed]})
    queue = await make_queue(sourced=False, draining=(later["name"],))
    assert (await queue.stats()).scheduled >= 2
    worker, seen = make_worker(), Counter[str]()

    @worker.handler
    async def work(task: Task) -> None:
        seen[task.id] += 1

    start(worker)
    receipt = await queue.enqueue("new")
    await eventually(lambda: seen == {"old0": 1, "old1": 1, receipt.id: 1})
    assert [one.task.id for one in await queue.peek_scheduled()] == ["old2"]
    assert await queue.cancel("old2")
    await eventually(lambda: is_over(queue))


class TestMaxInFlight:
    """Where a group states it, it holds for new and due tasks together: these are moved to the stream that counts."""

    async def test_no_more_are_in_flight_than_stated_and_all_are_worked(self, make_queue, make_worker, start) -> None:
        group = GroupSpec(max_in_flight=3, states_max_in_flight=True, retry=QUICK)
        queue = await make_queue(group, sourced=False, limits=PLENTY, levels=1)
        worker, running, most, done = make_worker(concurrency=20), 0, 0, Counter[str]()

        @worker.handler
        async def work(payload: str, task: Task) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            if task.attempt == 1 and payload == "again":
                raise ValueError
            done[payload] += 1

        await queue.enqueue_batch([NewTask("due", delay=0.05) for _ in range(40)] + ["again"] * 5 + ["new"] * 40)
        start(worker)
        await eventually(lambda: done == {"due": 40, "new": 40, "again": 5})
        assert most == 3
        await eventually(lambda: is_over(queue))

    async def test_what_finds_no_room_is_moved_later_and_nothing_is_lost(self, make_queue, make_worker, start) -> None:
        group = GroupSpec(max_in_flight=5, states_max_in_flight=True)
        queue = await make_queue(group, sourced=False, limits={"max_msgs": 2}, levels=1)
        await queue.enqueue_batch([NewTask(n, delay=0.05) for n in range(12)])
        worker, done = make_worker(), Counter[int]()

        @worker.handler
        async def work(payload: int) -> None:
            done[payload] += 1

        start(worker)
        await eventually(lambda: done == dict.fromkeys(range(12), 1))

    async def test_receive_by_hand_gets_what_is_due_too(self, make_queue) -> None:
        group = GroupSpec(max_in_flight=5, states_max_in_flight=True)
        queue = await make_queue(group, sourced=False, limits=PLENTY, levels=1)
        waiting = asyncio.create_task(queue.receive(5, wait=60, group="mailers"))
        await queue.enqueue("due", delay=0.05)
        assert [task.payload() for task in await waiting] == ["due"]
        await queue.enqueue("due", delay=0.05)
        await eventually(lambda: all_due(queue))
        assert [task.payload() for task in await queue.receive(5, group="mailers")] == ["due"]

    async def test_a_moved_task_keeps_its_id_attempt_and_expiry(self, make_queue, nc, queue_name) -> None:
        group = GroupSpec(max_in_flight=5, states_max_in_flight=True)
        queue = await make_queue(group, sourced=False, limits=PLENTY, levels=1, keep_expired=True)
        receipt = await queue.enqueue("x", delay=0.05, expires=1)
        name = QueueName("default", queue_name)
        often = {Header.SCHEDULE: "@every 1s", Header.SCHEDULE_TARGET: name.due(name.task(0))}
        await nc.jetstream().publish(name.cron("often"), encode_task("same", b"1"), headers=often)
        (task, *_) = await queue.receive(5, wait=30, group="mailers")
        assert task.id == receipt.id
        assert task._delivery.headers[Header.EXPIRES_AT]
        await task.retry(0.01)
        ids = set[str]()

        async def all_came() -> bool:
            for task in await queue.receive(5, wait=1, group="mailers"):
                ids.add(f"{task.id}:{task.attempt}")
                await task.ack()
            return f"{receipt.id}:2" in ids and len(ids) >= 3

        await eventually(all_came)
        assert all(each.startswith("often@") and each.endswith(":1") for each in ids - {f"{receipt.id}:2"})

    async def test_a_worker_that_stops_gives_back_what_it_has_not_moved(self, make_queue, make_worker) -> None:
        group = GroupSpec(max_in_flight=5, states_max_in_flight=True)
        queue = await make_queue(group, sourced=False, limits=PLENTY, levels=1)
        await queue.enqueue_batch([NewTask(n, delay=0.05) for n in range(50)])
        await eventually(lambda: all_due(queue))
        worker, done = make_worker(), list[int]()

        @worker.handler
        async def work(payload: int) -> None:
            done.append(payload)
            worker.stop()

        await worker.serve()
        other = make_worker()

        @other.handler
        async def rest(payload: int) -> None:
            done.append(payload)

        async def all_done() -> bool:
            await other.run_once()
            return len(done) >= 50

        await eventually(all_done)
        assert sorted(done) == list(range(50))

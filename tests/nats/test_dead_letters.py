"""Dead letters: seen, put back, deleted; and tasks that never were any."""

import asyncio
import re
import time
import urllib.request
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from ports import free_port
from protoqueue import DeadLetter, GroupNotFound, InvalidTask, NewTask, Reject
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from provisioning import GroupSpec
from waiting import eventually


async def letters_of(queue, count: int, **filters: Any) -> list[DeadLetter]:
    letters: list[DeadLetter] = []

    async def enough() -> bool:
        letters[:] = [letter async for letter in queue.dead_letters(**filters)]
        return len(letters) == count

    await eventually(enough)
    return letters


async def test_bytes_that_are_no_task_are_buried_unchanged(
    make_queue, make_worker, start, nc: Nats, queue_name
) -> None:
    queue = await make_queue()
    name = QueueName("default", queue_name)
    await nc.jetstream().publish(name.task(0), b"\xff\xff not protobuf")
    worker, seen = make_worker(), []

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)

    start(worker)
    (letter,) = await letters_of(queue, 1)
    assert (letter.reason, letter.error_type) == ("Undecodable", "UndecodableTask")
    stored = await nc.jetstream().get_msg(name.dead_letter_stream, letter.sequence)
    assert stored.data == b"\xff\xff not protobuf"
    await queue.enqueue(1)
    await eventually(lambda: seen == [1])


async def test_a_payload_that_is_not_what_the_handler_takes_is_buried_once_it_has_waited(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue(GroupSpec(retry={"rollout_grace": 1.5, "max_attempts": 1}))
    worker, calls = make_worker(), []

    @worker.handler
    async def work(payload: dict[str, int]) -> None:
        calls.append(payload)

    await queue.enqueue_batch(["text", {"a": "not a number"}, b"\xff"])
    start(worker)
    letters = await letters_of(queue, 3)
    assert {letter.reason for letter in letters} == {"Undecodable"}
    assert not calls


async def test_a_queue_without_dead_letters_drops_what_fails_for_good_and_counts_it(
    make_queue, make_worker, start, monkeypatch
) -> None:
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port := free_port()))
    queue = await make_queue(GroupSpec(retry={"max_attempts": 1}), dead_letters=False)
    worker, calls = make_worker(), []

    @worker.handler
    async def fail(payload: int) -> None:
        calls.append(payload)
        raise ValueError

    await queue.enqueue(1)
    start(worker)

    async def gone() -> bool:
        stats = await queue.stats()
        return bool(calls) and (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 0, 0, 0)

    await eventually(gone)

    def counted() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            found = re.search(r"^protoqueue_dropped_tasks_total\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        return found is not None and float(found[1]) == 1

    await eventually(lambda: asyncio.to_thread(counted))


async def test_redrive_takes_only_what_the_filters_choose_and_no_more_than_the_limit(
    make_queue, make_worker, start
) -> None:
    queue = await make_queue()
    worker, healed, done = make_worker(), False, []

    @worker.handler
    async def work(payload: int) -> None:
        if not healed:
            raise Reject("broken")
        done.append(payload)

    await queue.enqueue_batch([NewTask(number, type="even" if number % 2 == 0 else "odd") for number in range(10)])
    start(worker)
    await letters_of(queue, 10)
    healed = True
    assert await queue.redrive(type="even", limit=3) == 3
    await eventually(lambda: sorted(done) == [0, 2, 4])
    assert await queue.redrive(reason="MaxAttempts") == 0
    left = await letters_of(queue, 7)
    await left[0].redrive()
    assert await left[1].delete()
    assert not await left[1].delete()
    assert await left[-1].delete()
    assert not await left[-1].delete()
    await eventually(lambda: len(done) == 4)
    began = time.monotonic()
    assert await queue.redrive(rate=10) == 4
    assert time.monotonic() - began >= 0.3
    await letters_of(queue, 0)
    await eventually(lambda: len(done) == 8)


async def test_dead_letters_can_be_listed_by_group(make_queue, make_worker, start) -> None:
    queue = await make_queue(GroupSpec("one"), GroupSpec("two"), broadcast=True)
    for group in ("one", "two"):
        worker = make_worker(group=group)

        @worker.handler
        async def refuse(payload: int) -> None:
            raise Reject("no")

        start(worker)
    await queue.enqueue(1)
    await letters_of(queue, 2)
    (letter,) = await letters_of(queue, 1, group="two")
    assert letter.group == "two"


async def test_what_a_group_that_is_gone_has_given_up_is_kept(make_queue, make_worker, nc: Nats, queue_name) -> None:
    """Nobody would take it: JetStream drops what no group of a Broadcast queue is interested in."""
    queue = await make_queue(GroupSpec("stays"), GroupSpec("goes"), broadcast=True)
    worker = make_worker(group="goes")

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject("no")

    await queue.enqueue(1)
    await worker.run_once()
    key = GroupName(QueueName("default", queue_name), "goes").config_key
    await (await nc.jetstream().key_value(CONFIG_BUCKET)).purge(key)
    with pytest.raises(GroupNotFound, match="goes"):
        await queue.redrive()
    (letter,) = await letters_of(queue, 1)
    assert await letter.delete()


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"rate": -1}, {"limit": -1}])
async def test_a_redrive_that_makes_no_sense_is_refused(make_queue, wrong: dict[str, int]) -> None:
    queue = await make_queue()
    with pytest.raises(InvalidTask):
        await queue.redrive(**wrong)

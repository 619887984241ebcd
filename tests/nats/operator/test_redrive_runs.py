"""Dead letters go back into their queue, each exactly once, whatever breaks off in between: against a real server."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

import nats
from letters import bury, stored, task_id
from nats_server import NatsServer
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.task_codec import read_task
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue, parse_redrive
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.desired import queue_streams, standing_consumers
from protoqueue_operator.jetstream.diff import plan_consumer, plan_stream
from protoqueue_operator.jetstream.layout import initial_layout
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.redrive import checkpoints
from protoqueue_operator.redrive.checkpoint import Checkpoint
from protoqueue_operator.redrive.checkpoints import Place
from protoqueue_operator.redrive.run import Run, Step, Superseded
from protoqueue_operator.redrive.state import Turn
from unit.operator.samples import queue_body, redrive_body
from waiting import eventually

_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def broker(server: NatsServer) -> AsyncIterator[Broker]:
    connection = Connection(Credentials((server.url,)), lambda _: None)
    connection.open()
    await eventually(lambda: connection.is_up)
    yield Broker.over(connection)
    await connection.close()


@pytest_asyncio.fixture
async def client(server: NatsServer) -> AsyncIterator[Nats]:
    connected = await nats.connect(server.url)
    yield connected
    await connected.close()


class Post:
    """A queue with dead letters, and Redrives of them."""

    def __init__(self, broker: Broker, client: Nats, queue: Queue, spec: QueueSpec) -> None:
        self.client = client
        self.place = Place(broker, queue, spec, initial_layout(queue.name, spec))
        self.turn = Turn()
        self.redrives: set[str] = set()

    @property
    def name(self) -> QueueName:
        return self.place.queue.name

    async def make(self) -> "Post":
        jetstream, queue, spec = self.place.broker.jetstream, self.place.queue, self.place.spec
        for stream in queue_streams(queue, spec):
            await apply_plan(jetstream, plan_stream(stream, None), {})
        for consumer in standing_consumers(queue, spec, self.place.layout):
            await apply_plan(jetstream, plan_consumer(consumer, None), {})
        await self.place.broker.configs.put("made", b"{}")
        return self

    async def bury(self, count: int, **kinds: Any) -> None:
        await bury(self.client, self.name, range(count), **kinds)

    async def run(
        self, name: str = "again", known: Checkpoint | None = None, monotonic: Callable[[], float] = time.monotonic,
        **spec: Any,
    ) -> Run:  # fmt: skip
        redrive = parse_redrive(redrive_body(spec, name=name))
        assert isinstance(redrive.spec, RedriveSpec), redrive.spec
        self.redrives.add(redrive.meta.uid)
        run = Run(
            redrive, redrive.spec, self.place, self.turn, known,
            redrives=lambda: self.redrives, now=lambda: datetime.now(UTC), monotonic=monotonic,
        )  # fmt: skip
        await run.open()
        return run

    async def finish(self, run: Run) -> Checkpoint:
        while not (await run.step()).is_done:
            pass
        await run.close()
        assert run.checkpoint
        return run.checkpoint

    async def redrive(self, name: str = "again", **spec: Any) -> Checkpoint:
        return await self.finish(await self.run(name, **spec))

    async def back(self) -> Counter[str]:
        """How often each task is in the queue again."""
        return Counter(each for _, each in await self.messages())

    async def messages(self) -> list[tuple[str, str]]:
        """Subject and task id of what was put back, in its order; nothing of it is taken."""
        found = []
        stream = self.client.jetstream()
        info = await stream.stream_info(self.place.layout.stream)
        if not info.state.messages:
            return []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            try:
                message = await stream.get_msg(self.place.layout.stream, sequence)
            except nats.js.errors.NotFoundError:
                continue
            if ".retry." in (message.subject or ""):
                headers = message.headers or {}
                found.append((message.subject or "", read_task(message.data or b"", headers, sequence).id))
        return found

    async def left(self) -> int:
        return await stored(self.client, self.name)

    async def checkpoint(self) -> Checkpoint | None:
        found = await checkpoints.find(self.place, "uid-of-again")
        return found[0].checkpoint if found else None


@pytest.fixture
def post(broker: Broker, client: Nats) -> Callable[..., Any]:
    async def made(**spec: Any) -> Post:
        queue = parse_queue(queue_body(spec, name=f"redriven{next(_numbers)}"))
        assert isinstance(queue.spec, QueueSpec), queue.spec
        return await Post(broker, client, queue, queue.spec).make()

    return made


def once(numbers: range | list[int]) -> Counter[str]:
    return Counter(map(task_id, numbers))


async def test_every_letter_becomes_a_task_again_in_the_order_in_which_they_died(post: Any) -> None:
    made = await post()
    await made.bury(2100)
    done = await made.redrive()
    assert (done.matched, done.moved, done.failed) == (2100, 2100, 0)
    assert await made.back() == once(range(2100))
    assert [each for _, each in await made.messages()] == list(map(task_id, range(2100)))
    assert await made.left() == 0


async def test_a_task_keeps_its_trace_and_begins_anew(post: Any) -> None:
    made = await post()
    await made.bury(1)
    await made.redrive()
    message = await made.client.jetstream().get_last_msg(made.name.stream, made.name.retry("mailers", 1))
    assert message.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    assert message.headers["Pq-Attempt"] == "1"
    assert message.headers["Pq-Redrives"] == "1"
    assert not any(name.startswith(("Pq-Error", "Pq-Reason", "Pq-Failed")) for name in message.headers)


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"types": ["welcome"]}, [0, 2, 4, 6, 8, 10]),
    ({"reasons": ["Crashed"]}, [1, 4, 7, 10]),
    ({"types": ["welcome"], "reasons": ["Crashed"]}, [4, 10]),
    ({"errorTypes": ["KeyError", "OSError"]}, [1, 2, 4, 5, 7, 8, 10, 11]),
    ({"failedAfter": "2026-11-01T00:00:03Z", "failedBefore": "2026-11-01T00:00:05Z"}, [3, 4]),
    ({"types": ["unheard-of"]}, []),
]


@pytest.mark.parametrize(("wanted", "numbers"), FILTERS, ids=str)
async def test_a_filter_takes_its_letters_and_leaves_the_others(
    post: Any, wanted: dict[str, Any], numbers: list[int]
) -> None:
    made = await post()
    kinds = {
        "types": ("welcome", "goodbye"),
        "reasons": ("MaxAttempts", "Crashed", "Rejected"),
        "error_types": ("ValueError", "KeyError", "OSError"),
    }
    await made.bury(12, **kinds)
    done = await made.redrive(filter=wanted)
    assert (done.matched, done.moved) == (len(numbers), len(numbers))
    assert await made.back() == once(numbers)
    assert await made.left() == 12 - len(numbers)


async def test_a_group_has_its_own_letters_moved(post: Any) -> None:
    made = await post()
    await made.bury(9, groups=("mailers", "loggers", "billers"))
    assert (await made.redrive(group="loggers")).matched == 3
    assert await made.back() == once([1, 4, 7])
    assert await made.left() == 6


async def test_what_dies_after_the_beginning_is_left_for_the_next_one(post: Any) -> None:
    made = await post()
    await made.bury(3)
    run = await made.run(limit=100)
    assert await run.step() == Step()  # counted
    await bury(made.client, made.name, range(3, 5))
    assert (await made.finish(run)).moved == 3
    assert await made.left() == 2


async def test_a_limit_moves_the_oldest(post: Any) -> None:
    made = await post()
    await made.bury(10)
    done = await made.redrive(limit=4)
    assert (done.matched, done.moved) == (10, 4)
    assert await made.back() == once(range(4))
    assert await made.left() == 6


async def test_a_dry_run_counts_and_leaves_everything_as_it_was(post: Any) -> None:
    made = await post()
    await made.bury(6, types=("welcome", "goodbye"))
    assert (await made.redrive(dryRun=True)).matched == 6
    assert (await made.redrive("other", dryRun=True, filter={"types": ["welcome"]})).matched == 3
    assert await made.left() == 6
    assert await made.back() == Counter()
    assert await made.checkpoint() is None


async def test_ordered_letters_join_their_partitions_in_order(post: Any) -> None:
    made = await post(ordering={"partitions": 4})
    await made.bury(40, ordering_key=lambda number: f"key-{number % 7}")
    await made.redrive()
    assert await made.back() == once(range(40))
    by_partition: dict[str, list[int]] = {}
    for subject, each in await made.messages():
        by_partition.setdefault(subject, []).append(int(each.removeprefix("task-")))
    assert len(by_partition) > 1
    assert all(numbers == sorted(numbers) for numbers in by_partition.values())


async def test_a_broadcast_letter_goes_to_its_group_and_stays_where_that_is_gone(post: Any) -> None:
    made = await post(delivery="Broadcast")
    for group in ("mailers", "billers"):
        config = {"name": f"{group}_p1", "durable_name": f"{group}_p1", "ack_policy": "explicit"}
        config |= {"filter_subject": made.name.retry(group, 1)}
        await made.place.broker.jetstream.create_consumer(made.name.stream, config)
        await made.place.broker.configs.put(GroupName(made.name, group).config_key, b"{}")
    await made.bury(9, groups=("mailers", "loggers", "billers"))
    done = await made.redrive()
    assert (done.matched, done.moved, done.failed) == (9, 6, 3)
    assert done.failure == "the ConsumerGroup loggers does not exist: create it again, or delete its dead letters"
    assert Counter(subject for subject, _ in await made.messages()) == {
        made.name.retry("mailers", 1): 3,
        made.name.retry("billers", 1): 3,
    }
    assert await made.left() == 3


async def test_a_full_queue_is_waited_for_and_loses_nothing(post: Any) -> None:
    made = await post(limits={"maxTasks": 30})
    await made.bury(100)
    run = await made.run()
    waits = 0
    while not (step := await run.step()).is_done:
        if step.wait_s:
            waits += 1
            assert (step.reason, run.checkpoint.moved < 100) == ("QueueFull", True)
            assert "spec.limits.maxTasks is 30" in step.message
            await made.place.broker.jetstream.purge(made.place.layout.stream, made.name.retry("*", "*"))
    assert waits >= 3
    assert run.checkpoint.moved == 100
    assert await made.left() == 0


async def test_a_queue_that_drops_its_oldest_task_is_not_moved_more_into_than_fits(post: Any) -> None:
    made = await post(limits={"maxTasks": 20, "onFull": "DropOldest"})
    await made.bury(50)
    run = await made.run()
    while not (step := await run.step()).wait_s:
        assert not step.is_done
    moved = run.checkpoint.moved
    assert 0 < moved < 20
    assert await made.back() == once(range(moved))
    assert await made.left() == 50 - moved


async def test_a_queue_for_one_task_takes_one_after_the_other(post: Any) -> None:
    made = await post(limits={"maxTasks": 1})
    await made.bury(3)
    run = await made.run()
    taken = []
    while not (step := await run.step()).is_done:
        if step.wait_s:
            taken += [each for _, each in await made.messages()]
            await made.place.broker.jetstream.purge(made.place.layout.stream, made.name.retry("*", "*"))
    taken += [each for _, each in await made.messages()]
    assert taken == list(map(task_id, range(3)))


async def test_a_letter_that_is_too_large_now_is_kept_and_the_others_are_moved(post: Any) -> None:
    made = await post(limits={"maxTaskSize": "1Ki"})
    await made.bury(30, size=lambda number: 50_000 if number in (3, 17) else 10)
    done = await made.redrive()
    assert (done.moved, done.failed) == (28, 2)
    assert "raise spec.limits.maxTaskSize" in done.failure
    assert await made.back() == once([number for number in range(30) if number not in (3, 17)])
    assert await made.left() == 2


class Broken(JetStream):
    """Breaks off before what it is told to."""

    def __init__(self, connection: Connection, fails: set[str]) -> None:
        super().__init__(connection)
        self.fails = fails

    async def purge(self, stream: str, subject: str, before: int | None = None) -> None:
        if "purge" in self.fails and stream.endswith("_DLQ"):
            raise BrokerUnavailable("the server was killed")
        await super().purge(stream, subject, before)

    async def delete_messages(self, stream: str, sequences: Any) -> None:
        if "delete" in self.fails:
            raise BrokerUnavailable("the server was killed")
        await super().delete_messages(stream, sequences)


def broken(made: Post, *fails: str) -> None:
    broker = made.place.broker
    jetstream = Broken(broker.connection, set(fails))
    made.place = replace(made.place, broker=replace(broker, jetstream=jetstream))


@pytest.mark.parametrize("wanted", [{}, {"filter": {"types": ["welcome"]}}], ids=["all", "filtered"])
async def test_one_killed_between_storing_and_deleting_moves_no_letter_twice_however_late_it_comes_back(
    post: Any, wanted: dict[str, Any]
) -> None:
    made = await post(deduplicationWindow="100ms")
    await made.bury(1500)
    whole = made.place
    broken(made, "purge", "delete")
    run = await made.run(**wanted)
    with pytest.raises(BrokerUnavailable):
        await made.finish(run)
    await run.close()
    assert await made.left() == 1500  # stored, and not deleted
    assert sum((await made.back()).values()) == 999
    await asyncio.sleep(0.3)  # the server has forgotten the message ids
    made.place, made.turn = whole, Turn()  # another process
    done = await made.redrive(**wanted)
    assert (done.matched, done.moved) == (1500, 1500)
    assert await made.back() == once(range(1500))
    assert await made.left() == 0


async def test_another_redrive_does_not_move_what_one_has_left_half_done(post: Any) -> None:
    made = await post(deduplicationWindow="100ms")
    await made.bury(20)
    whole = made.place
    broken(made, "purge", "delete")
    run = await made.run()
    with pytest.raises(BrokerUnavailable):
        await made.finish(run)
    await run.close()
    await asyncio.sleep(0.3)
    made.place, made.turn = whole, Turn()
    assert (await made.redrive("other")).moved == 0
    assert await made.back() == once(range(20))
    assert await made.left() == 0


async def test_one_that_was_deposed_stores_nothing_any_more(post: Any) -> None:
    made = await post(deduplicationWindow="100ms")
    await made.bury(2000)
    deposed = await made.run()
    assert await deposed.step() == Step()
    assert await deposed.step() == Step()  # a batch, and the next one is read
    leader_turn, made.turn = made.turn, Turn()
    await asyncio.sleep(0.3)
    done = await made.redrive()
    assert done.moved == 2000
    made.turn = leader_turn
    with pytest.raises(Superseded):
        await made.finish(deposed)
    await deposed.close()
    assert await made.back() == once(range(2000))


async def test_what_somebody_else_has_put_back_a_moment_ago_is_not_put_back_twice(post: Any) -> None:
    made = await post()
    await made.bury(10)
    broken(made, "purge", "delete")
    run = await made.run("other")
    with pytest.raises(BrokerUnavailable):
        await made.finish(run)
    await run.close()
    # As if it had been somebody who leaves no checkpoint, as `protoqueue dead redrive` does.
    made.place = replace(made.place, broker=Broker.over(made.place.broker.connection))
    await checkpoints.remove(made.place, "uid-of-other")
    done = await made.redrive()
    assert done.moved == 10
    assert await made.back() == once(range(10))
    assert await made.left() == 0


async def test_two_redrives_of_one_queue_share_its_letters(post: Any) -> None:
    made = await post()
    await made.bury(3000, types=("welcome", "goodbye"))
    runs = [await made.run(name, filter={"types": types}) for name, types in
            (("a", ["welcome"]), ("b", ["goodbye"]), ("c", ["welcome", "goodbye"]))]  # fmt: skip
    done = await asyncio.gather(*map(made.finish, runs))
    assert sum(each.moved for each in done) == 3000
    assert await made.back() == once(range(3000))
    assert await made.left() == 0


async def test_a_rate_is_held(post: Any) -> None:
    """By a clock of the test's: how late the machine is does not matter."""
    made = await post()
    await made.bury(200)
    clock = [0.0]
    run = await made.run(rate={"tasks": 50}, monotonic=lambda: clock[0])
    while not (step := await run.step()).is_done:
        assert step.reason == ""
        clock[0] += step.wait_s
    await run.close()
    assert run.checkpoint.moved == 200
    assert 200 / clock[0] == pytest.approx(50, rel=0.03)


async def test_what_is_stored_of_a_redrive_that_is_gone_is_removed_by_the_next(post: Any) -> None:
    made = await post()
    await made.bury(5)
    await made.redrive("other")
    made.redrives.clear()
    made.turn = Turn()
    await bury(made.client, made.name, range(5, 6))
    await made.redrive()
    subjects = await made.place.broker.jetstream.subjects(made.name.stream, made.name.all_checkpoints)
    assert subjects == {made.name.checkpoint("uid-of-again")}
    assert await made.left() == 0


async def test_a_checkpoint_goes_with_its_redrive(post: Any) -> None:
    made = await post()
    await made.bury(5)
    await made.redrive()
    assert await made.checkpoint()
    await checkpoints.remove(made.place, "uid-of-again")
    assert await made.checkpoint() is None
    assert await made.back() == once(range(5))


async def test_no_dead_letters_no_stream_of_them_and_nothing_to_do(post: Any) -> None:
    made = await post(deadLetter={"enabled": False})
    done = await made.redrive()
    assert (done.matched, done.moved) == (0, 0)

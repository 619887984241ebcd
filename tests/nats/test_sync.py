"""The client for code without an event loop, as Django, Flask and scripts use it."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

import protoqueue
from nats_server import NatsServer
from protoqueue import sync
from protoqueue.errors import ConfigurationError, QueueNotFound, Unavailable
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

PATIENCE_S = 100


@pytest_asyncio.fixture
async def name(nc: Nats, queue_name: str) -> AsyncIterator[str]:
    await provision(nc, QueueSpec(queue_name), (GroupSpec(retry={"max_attempts": 3, "initial_delay": 60}),))
    yield f"default/{queue_name}"


@pytest.fixture
def client(server: NatsServer) -> Iterator[sync.Client]:
    with sync.connect(server.url) as client:
        yield client


@pytest.fixture
def queue(client: sync.Client, name: str) -> sync.Queue:
    return client.queue(name)


def test_tasks_are_enqueued_received_and_settled(client: sync.Client, queue: sync.Queue, name: str) -> None:
    assert name in client.queue_names()
    first = queue.enqueue({"n": 0}, type="count", priority=9)
    receipts = queue.enqueue_batch([1, 2, 3, 4], timeout=30)
    assert len({first.id, *(receipt.id for receipt in receipts)}) == 5
    assert [task.id for task in queue.peek()] == [first.id, *(receipt.id for receipt in receipts)]
    done, *others = queue.receive(5, wait=PATIENCE_S)
    assert (done.id, done.type, done.payload(), done.attempt) == (first.id, "count", {"n": 0}, 1)
    done.ack()
    with pytest.raises(protoqueue.AlreadySettled):
        done.ack()
    retried, rejected, snoozed, extended = sorted(others, key=lambda task: task.payload(int))
    retried.retry(why="later")
    rejected.reject("no use")
    snoozed.snooze(3600)
    extended.extend()
    stats = queue.stats()
    assert (stats.waiting, stats.in_flight, stats.scheduled, stats.dead) == (0, 1, 2, 1)
    lease = queue.lease(extended.token)
    assert (lease.task_id, lease.attempt, lease.group) == (extended.id, 1, extended.group)
    assert lease.extend() >= extended.leased_until
    lease.ack()
    assert queue.stats().in_flight == 0


def test_dead_letters_are_read_redriven_and_deleted(queue: sync.Queue) -> None:
    queue.enqueue_batch(["a", "b"])
    for task in queue.receive(2, wait=PATIENCE_S):
        task.reject(f"no use for {task.payload()}")
    a, b = queue.dead_letters()
    assert [letter.sequence for letter in queue.dead_letters(after=a.sequence)] == [b.sequence]
    assert {(letter.reason, letter.error) for letter in (a, b)} == {
        ("Rejected", "no use for a"),
        ("Rejected", "no use for b"),
    }
    a.redrive()
    assert b.delete()
    assert not list(queue.dead_letters())
    [again] = queue.receive(1, wait=PATIENCE_S)
    assert again.id == a.task.id
    again.ack()


def test_what_is_scheduled_can_be_seen_and_cancelled_and_all_be_purged(queue: sync.Queue) -> None:
    receipt = queue.enqueue("later", delay=3600)
    [scheduled] = queue.peek_scheduled()
    assert scheduled.task.id == receipt.id
    assert queue.cancel(receipt.id)
    assert not queue.peek_scheduled()
    queue.enqueue_batch(range(10))
    assert queue.progress().stored == 10
    assert queue.purge() == 10


def test_errors_are_those_of_the_async_client(client: sync.Client, queue: sync.Queue, tmp_path: Path) -> None:
    with pytest.raises(QueueNotFound, match="queue default/nowhere does not exist"):
        client.queue("default/nowhere")
    with pytest.raises(protoqueue.InvalidTask):
        queue.enqueue("x", delay=-1)
    with pytest.raises(Unavailable, match="no NATS server responded"):
        sync.connect("nats://127.0.0.1:1", timeout=0.2)


def test_a_closed_client_says_so(server: NatsServer, name: str) -> None:
    with sync.connect(server.url) as client:
        queue = client.queue(name)
    for call in (lambda: queue.enqueue(1), lambda: client.queue(name), client.queue_names):
        with pytest.raises(Unavailable, match="closed"):
            call()
    client.close()


def test_many_threads_share_a_client(queue: sync.Queue) -> None:
    with ThreadPoolExecutor(20) as pool:
        receipts = list(pool.map(queue.enqueue, range(1000)))
    assert len({receipt.id for receipt in receipts}) == 1000
    assert queue.stats().waiting == 1000


async def test_in_a_coroutine_it_works_and_blocks_as_any_call_does(queue: sync.Queue) -> None:
    assert queue.enqueue(1).id


def script(server: NatsServer, name: str, code: str) -> "subprocess.Popen[str]":
    """A program that heeds SIGINT, also where a shell has started all of this in the background."""
    heeding = "import os, signal, protoqueue\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    text = f"{heeding}client = protoqueue.sync.connect({server.url!r})\nqueue = client.queue({name!r})\n"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", text + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_are_forked_off_connect_anew_and_the_parent_goes_on(
    server: NatsServer, name: str, queue: sync.Queue
) -> None:
    """As gunicorn --preload and Celery's prefork pool do with a client that a module makes."""
    forking = script(
        server,
        name,
        """
        queue.enqueue("parent, before")
        children = []
        for n in range(3):
            child = os.fork()
            if not child:
                queue.enqueue(f"child {n}")
                client.queue(queue.name).enqueue(f"child {n}, again")
                os._exit(0)
            children.append(child)
            queue.enqueue(f"parent, beside {n}")
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        queue.enqueue("parent, after")
        """,
    )
    output, errors = forking.communicate(timeout=PATIENCE_S)
    assert forking.returncode == 0, output + errors
    assert not errors
    assert sorted(str(task.payload()) for task in queue.receive(100, wait=PATIENCE_S)) == sorted(
        ["parent, before", "parent, after"]
        + [f"child {n}{again}" for n in range(3) for again in ("", ", again")]
        + [f"parent, beside {n}" for n in range(3)]
    )


async def test_ctrl_c_ends_a_call_that_waits_and_nothing_stays_lent(
    server: NatsServer, nc: Nats, name: str, queue: sync.Queue
) -> None:
    waiting = script(
        server,
        name,
        """
        try:
            queue.receive(10, wait=3600)
        except KeyboardInterrupt:
            print("interrupted", len(queue.receive(10)))
        """,
    )
    stream = f"PQ_{name.replace('/', '_')}"

    async def is_waiting() -> bool:
        return any(one.num_waiting for one in await nc.jetstream().consumers_info(stream))

    await eventually(is_waiting)
    waiting.send_signal(signal.SIGINT)
    output, errors = waiting.communicate(timeout=PATIENCE_S)
    assert output == "interrupted 0\n", errors
    queue.enqueue("for others")
    assert [task.payload() for task in queue.receive(1, wait=PATIENCE_S)] == ["for others"]


async def test_plain_handlers_enqueue_through_their_worker_and_async_ones_are_told_not_to(
    server: NatsServer, name: str
) -> None:
    worker = protoqueue.Worker(name, group="mailers", url=server.url)
    seen: list[str] = []

    @worker.handler("plain")
    def plain(payload: str) -> None:
        receipt = worker.sync_client.queue(name).enqueue(payload.upper(), type="next")
        seen.append(f"plain {payload} {len(receipt.id) > 0}")

    @worker.handler("next")
    async def following(payload: str) -> None:
        with pytest.raises(ConfigurationError, match="use the async client"):
            worker.sync_client.queue(name)
        seen.append(f"next {payload}")

    with pytest.raises(ConfigurationError, match="not running"):
        _ = worker.sync_client
    async with await protoqueue.connect(server.url) as client:
        await (await client.queue(name)).enqueue("a", type="plain")
    assert await asyncio.wait_for(worker.run_once(), PATIENCE_S) == 2
    assert sorted(seen) == ["next A", "plain a True"]

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

import protoqueue
from protoqueue import sync
from protoqueue.background import BACKGROUND
from protoqueue.testing import sync_in_memory


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (sync.Client, protoqueue.Client),
        (sync.Queue, protoqueue.Queue),
        (sync.ReceivedTask, protoqueue.ReceivedTask),
        (sync.Lease, protoqueue.Lease),
        (sync.DeadLetter, protoqueue.DeadLetter),
    ],
)
def test_it_has_all_that_the_async_client_has_with_the_same_arguments(blocking: type, awaited: type) -> None:
    left_out = {"update", "matches", "to_be_redriven", "to_be_forwarded"}  # not users' calls
    for name, method in public(awaited).items():
        if not inspect.isfunction(method) or name in left_out:
            continue
        own = getattr(blocking, name)
        assert not inspect.iscoroutinefunction(own), name
        parameters = inspect.signature(own).parameters
        assert list(parameters.values()) == list(inspect.signature(method).parameters.values()), name
        assert own.__doc__, name


INTERRUPTED = """
import asyncio, signal, threading
from protoqueue.background import BACKGROUND

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it

async def interrupt_and_wait():
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # taken by this thread: the one that waits sleeps on
    await asyncio.sleep(3600)

try:
    BACKGROUND.run(interrupt_and_wait())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_heeded_also_where_it_does_not_wake_the_thread_that_waits() -> None:
    """As in the moment before that falls asleep, which is a long one on a busy machine."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=100)
    assert done.stdout == "interrupted\n", done.stderr


def test_an_error_of_the_call_s_own_that_is_a_timeout_is_raised() -> None:
    async def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        BACKGROUND.run(late())


def test_what_uses_it_is_tested_without_a_server() -> None:
    worker = protoqueue.Worker("default/email", group="mailers")
    sent = []

    @worker.handler
    def send(payload: str) -> None:
        sent.append(payload)
        if payload == "welcome":
            worker.sync_client.queue("default/email").enqueue("thanks")

    with sync_in_memory("default/email", group="mailers") as memory:
        with protoqueue.sync.connect("nats://ignored") as client:
            client.queue("default/email").enqueue("welcome", delay=3600)
        assert memory.run_once(worker) == 0
        memory.advance(3600)
        assert memory.run_once(worker, timeout=60) == 2
        memory.add_queue("default/more")
        memory.add_group("default/more", "test")
        assert memory.client.queue("default/more").stats().waiting == 0
    assert sent == ["welcome", "thanks"]


def test_all_queues_are_followed_until_the_iterator_is_closed() -> None:
    with sync_in_memory("default/email", group="mailers") as memory, memory.client as client:
        looks = client.follow_overview(0.01)
        assert next(looks)["default/email"].stats.waiting == 0
        client.queue("default/email").enqueue("welcome")
        assert any(found["default/email"].stats.waiting == 1 for found in looks)
        looks.close()


def test_a_receipt_says_what_a_duplicate_matched() -> None:
    with sync_in_memory("default/email", group="mailers") as memory, memory.client as client:
        queue = client.queue("default/email")
        first = queue.enqueue(1, dedup_id="invoice-17", unique="ada")
        assert (first.duplicate, first.matched) == (False, "")
        again = queue.enqueue(1, dedup_id="invoice-17")
        assert (again.id, again.duplicate, again.matched) == (first.id, True, "dedup_id")
        (other,) = queue.enqueue_batch([protoqueue.NewTask(2, unique="ada")])
        assert (other.id, other.matched, pickle.loads(pickle.dumps(other))) == (first.id, "unique", other)

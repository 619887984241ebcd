"""What a sleeping queue costs that is published to, with a NATS on which somebody never stops."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from protoqueue.aio import cancel
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.activation import Activation
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.desired import group_consumers
from protoqueue_operator.jetstream.layout import initial_layout
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired
from waiting import eventually

EMAIL = QueueName("default", "email")


class Duplicates:
    """Somebody publishes all the time, and nothing of it is stored."""

    def __init__(self) -> None:
        self.heard = 0
        self.listeners: list[Callable[[Any], None]] = []
        self.stops = False
        self.infos: list[dict[str, Any]] = []

    async def streams(self) -> AsyncIterator[Any]:
        state = {"messages": 0, "first_ts": "0001-01-01T00:00:00Z", "last_seq": 9}
        yield SimpleNamespace(found=[{"config": {"name": EMAIL.stream}, "state": state}], missing=())

    async def consumers(self, _: str) -> list[dict[str, Any]]:
        return self.infos

    async def subscribe(self, subject: str, heard: Callable[[Any], None], limit: int = 0) -> Any:
        if limit and subject in EMAIL.new_task_subjects:
            self.listeners.append(heard)
            if not self.stops:
                self.heard += 1
                asyncio.get_running_loop().call_soon(heard, None)
        return SimpleNamespace(unsubscribe=self.unsubscribe)

    async def unsubscribe(self) -> None:
        """Done already."""


class Sleeping:
    """Of Kubernetes only the size of a target."""

    async def scale(self, *_: str) -> dict[str, Any]:
        return {"spec": {"replicas": 0}}


@pytest.fixture
def nats() -> Duplicates:
    return Duplicates()


@pytest_asyncio.fixture
async def sampling(nats: Duplicates) -> AsyncIterator[asyncio.Task[None]]:
    """A sampler at work, that knows one queue whose group sleeps."""
    nothing: Any = None
    broker = Broker(cast("Any", nats), cast("Any", nats), nothing)
    brokers = SimpleNamespace(queues_of=lambda _: wired.caches.queues.keys(), known=lambda _: broker)
    wired = Wired(Sleeping(), brokers, SimpleNamespace(report=lambda *_, **__: None))
    queue = wired.queue(queue_body())
    group = wired.group(group_body({"worker": {"scaleTargetRef": {"name": "existing"}}, "autoscale": {}}))
    assert isinstance(group.spec, ConsumerGroupSpec)
    assert isinstance(queue.spec, QueueSpec)
    consumers = group_consumers(
        group, effective_spec(group.spec, queue.spec), queue.spec, initial_layout(queue.name, queue.spec)
    )
    wired.applied(group, consumers)
    seen = {"num_pending": 0, "num_ack_pending": 0, "delivered": {"consumer_seq": 0}}
    nats.infos = [
        {"stream_name": each.stream, "name": each.name, "config": each.config(), **seen} for each in consumers
    ]
    task = asyncio.create_task(wired.wiring.sampler(broker).run())
    yield task
    await cancel(task)


async def test_a_sleeping_queue_is_not_looked_at_for_every_task_that_is_not_stored(
    nats: Duplicates, sampling: asyncio.Task[None]
) -> None:
    started = time.monotonic()
    await eventually(lambda: nats.heard >= 12 * len(EMAIL.new_task_subjects))
    assert not sampling.done()
    assert time.monotonic() - started > 0.7, "two looks are never closer than a wake needs"


async def test_who_samples_no_more_is_woken_by_nobody(nats: Duplicates, sampling: asyncio.Task[None]) -> None:
    nats.stops = True
    await eventually(lambda: len(nats.listeners) > nats.heard)
    await cancel(sampling)
    await eventually(lambda: not looks())
    for heard in nats.listeners:
        heard(None)
    assert not looks()


def looks() -> list[asyncio.Task[Any]]:
    """Those that are under way."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "sampling"]


class Lost:
    """A connection that goes away between two subscriptions."""

    def __init__(self) -> None:
        self.left = 1

    async def subscribe(self, *_: object, **__: object) -> Any:
        if not self.left:
            raise BrokerUnavailable("gone")
        self.left -= 1
        return SimpleNamespace(unsubscribe=self.unsubscribe)

    async def unsubscribe(self) -> None:
        """Nobody hears it."""


async def test_a_queue_that_could_not_be_listened_to_is_not_taken_for_one_that_is() -> None:
    connection, nothing = Lost(), cast("Any", None)
    activation = Activation(cast("Any", connection), nothing, nothing)
    with pytest.raises(BrokerUnavailable):
        await activation.arm(EMAIL)
    assert not activation.is_armed(EMAIL)
    connection.left = len(EMAIL.new_task_subjects)
    assert await activation.arm(EMAIL)

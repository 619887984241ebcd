"""All queues as they are now: when they are looked at."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import QUEUES, Listing
from protoqueue_gateway.service.errors import Away
from protoqueue_gateway.service.live_queues import LiveQueues
from waiting import eventually

QUEUE = {"metadata": {"namespace": "shop", "name": "email", "resourceVersion": "1"}, "spec": {}}


class OneQueue:
    """A Kubernetes that lists one Queue, and where nothing changes."""

    def __init__(self) -> None:
        self.listed = 0

    async def follow(self, resource: Any, _namespace: str | None) -> AsyncIterator[Listing]:
        self.listed += 1
        yield Listing([QUEUE] if resource is QUEUES else [])
        await asyncio.Event().wait()


class NoNats:
    @property
    def client(self) -> Any:
        raise Away("NATS does not answer")


async def test_who_is_expected_finds_the_queues_listed_already() -> None:
    kubernetes: Any = OneQueue()
    connection: Any = NoNats()
    live = LiveQueues(kubernetes, connection, [])
    live.expect()
    await eventually(lambda: live.version)
    async with live.watching():
        assert list(live.rows()) == [QueueName("shop", "email")]
    assert kubernetes.listed == 2, "the Queues and the ConsumerGroups, once"
    await live.close()


async def test_nothing_is_listed_while_nobody_watches_or_is_expected() -> None:
    kubernetes: Any = OneQueue()
    connection: Any = NoNats()
    live = LiveQueues(kubernetes, connection, [])
    await live.close()
    assert (live.version, kubernetes.listed) == (0, 0)

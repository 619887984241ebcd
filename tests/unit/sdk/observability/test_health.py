"""What probes are told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from protoqueue.broker import Inbox
from protoqueue.consumer.isolation import Isolation
from protoqueue.consumer.prefetch import Prefetcher
from protoqueue.consumer.throttle import GroupThrottle
from protoqueue.observability.health import DEAF_AFTER_S, STALLED_AFTER_S, HealthServer, Probed
from protoqueue.protocol.config import Consumer, GroupSettings, QueueSettings
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.ratelimit import Limiter
from protoqueue.testing.memory import MemoryBroker
from waiting import eventually

QUEUE = QueueName("default", "q")


@dataclass
class Worker:
    connected: bool = True
    stalled_s: float = 0.0
    unheard_s: float = 0.0
    left_behind: int = 0
    unsettled: str | None = None
    missing: str | None = None
    acks_refused: str | None = None


@pytest_asyncio.fixture
async def worker() -> Worker:
    return Worker()


@pytest_asyncio.fixture
async def health(worker: Worker) -> AsyncIterator[HealthServer]:
    server = HealthServer(0, asyncio.get_running_loop())
    async with contextlib.AsyncExitStack() as stack:
        server.add(Probed("default/q/mailers", CollectorRegistry(), worker, worker, worker), stack)
        yield server
    server._server.server_close()


@pytest.mark.parametrize(
    ("state", "problem", "live", "ready"),
    [
        ({}, None, 200, 200),
        ({"connected": False}, "nats", 200, 503),
        ({"connected": False, "unheard_s": DEAF_AFTER_S + 1}, "nats", 200, 503),
        ({"acks_refused": "allow its NATS user to publish to …"}, "acks", 200, 503),
        ({"missing": "there is no Queue default/q"}, "settings", 200, 503),
        ({"stalled_s": STALLED_AFTER_S + 1}, "pulling", 200, 503),
        ({"stalled_s": DEAF_AFTER_S + 1, "unheard_s": DEAF_AFTER_S + 1}, "pulling", 503, 503),
        ({"left_behind": 3}, "handlers", 503, 503),
        ({"unsettled": "2 outcomes cannot be stored, the first one for 12 s: no room"}, "outcomes", 200, 503),
    ],
)
def test_a_worker_is_ready_when_tasks_can_come_and_live_unless_a_restart_would_help(
    health: HealthServer, worker: Worker, state: dict[str, object], problem: str | None, live: int, ready: int
) -> None:
    for name, value in state.items():
        setattr(worker, name, value)
    assert health.answer("/healthz")[0] == live
    status, _, body = health.answer("/readyz")
    assert status == ready
    assert list(json.loads(body)) == [problem or "status"]


def test_an_event_loop_that_does_not_turn_fails_both(health: HealthServer) -> None:
    health._turned_at = monotonic() - STALLED_AFTER_S - 1
    for path in ("/healthz", "/readyz"):
        status, _, body = health.answer(path)
        assert status == 503
        assert "does an async handler block" in json.loads(body)["event loop"]


class Deaf(MemoryBroker):
    """A connection over which no pull request is answered."""

    def open_inbox(self, *arguments: object) -> Inbox:
        class Silence:
            async def request(self, batch: int, wait_s: float | None) -> None: ...

            async def withdraw(self) -> None: ...

        return Silence()


async def test_time_without_an_answer_counts_while_tasks_are_wanted_and_from_a_reconnect_on() -> None:
    broker, running = Deaf(), 0
    reconnected = []
    broker.on_reconnect = reconnected.append  # type: ignore[method-assign]
    name = GroupName(QUEUE, "g")
    throttle = GroupThrottle(broker, name, lambda: None)
    following = asyncio.create_task(throttle.run())
    await eventually(lambda: not throttle.is_closed)
    isolation = Isolation(lambda: None)
    prefetcher = Prefetcher(broker, 2, Limiter(broker), isolation, throttle, lambda: running, lambda: None)
    group = GroupSettings(name, (Consumer("g_p0"),))
    await prefetcher.apply(QueueSettings(QUEUE, "s", "l", "d"), group)
    await eventually(lambda: prefetcher.unheard_s > 0.05 < prefetcher.stalled_s)
    running = 2
    assert prefetcher.unheard_s == prefetcher.stalled_s == 0
    prefetcher.tick(0)
    running = 1
    assert prefetcher.unheard_s < 0.05 > prefetcher.stalled_s
    await eventually(lambda: prefetcher.unheard_s > 0.05)
    for call in reconnected:
        call()
    assert prefetcher.unheard_s < 0.05
    following.cancel()


def test_the_process_s_own_metrics_and_the_user_s_are_on_the_same_page(health: HealthServer) -> None:
    orders = Counter("orders_booked", "What a handler counts.", registry=REGISTRY)
    try:
        orders.inc(3)
        _, _, body = health.answer("/metrics")
    finally:
        REGISTRY.unregister(orders)
    assert b"orders_booked_total 3.0" in body
    assert b"process_cpu_seconds_total" in body
    names = [line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))

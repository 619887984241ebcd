"""What probes are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from protoqueue.connection import Inbox
from protoqueue.fetching import Fetcher
from protoqueue.gate import Gate
from protoqueue.health import DEAF_AFTER_S, STALLED_AFTER_S, HealthServer
from protoqueue.naming import GroupName, QueueName
from protoqueue.settings import Consumer, GroupSettings, QueueSettings
from protoqueue.testing.memory import MemoryBroker
from waiting import eventually

QUEUE = QueueName("default", "q")


@dataclass
class Worker:
    connected: bool = True
    stalled_s: float = 0.0
    unheard_s: float = 0.0
    left_behind: int = 0
    missing: str | None = None


@pytest_asyncio.fixture
async def worker() -> Worker:
    return Worker()


@pytest_asyncio.fixture
async def health(worker: Worker) -> AsyncIterator[HealthServer]:
    server = HealthServer(0, CollectorRegistry(), worker, worker, worker, asyncio.get_running_loop())
    yield server
    server._server.server_close()


@pytest.mark.parametrize(
    ("state", "problem", "live", "ready"),
    [
        ({}, None, 200, 200),
        ({"connected": False}, "nats", 200, 503),
        ({"connected": False, "unheard_s": DEAF_AFTER_S + 1}, "nats", 200, 503),
        ({"missing": "there is no Queue default/q"}, "settings", 200, 503),
        ({"stalled_s": STALLED_AFTER_S + 1}, "pulling", 200, 503),
        ({"stalled_s": DEAF_AFTER_S + 1, "unheard_s": DEAF_AFTER_S + 1}, "pulling", 503, 503),
        ({"left_behind": 3}, "handlers", 503, 503),
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
    fetcher = Fetcher(broker, 2, Gate(broker), lambda: running, lambda: None)
    group = GroupSettings(GroupName(QUEUE, "g"), (Consumer("g_p0"),))
    await fetcher.apply(QueueSettings(QUEUE, "s", "l", "d"), group)
    await eventually(lambda: fetcher.unheard_s > 0.05 < fetcher.stalled_s)
    running = 2
    assert fetcher.unheard_s == fetcher.stalled_s == 0
    fetcher.tick(0)
    running = 1
    assert fetcher.unheard_s < 0.05 > fetcher.stalled_s
    await eventually(lambda: fetcher.unheard_s > 0.05)
    for call in reconnected:
        call()
    assert fetcher.unheard_s < 0.05

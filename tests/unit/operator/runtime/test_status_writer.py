"""When statuses are written. The clock stands still unless a test moves it: what has to wait, waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest_asyncio

from protoqueue_operator.adapters.kubernetes import ApiError, Kubernetes
from protoqueue_operator.core.resources import Group, Key
from protoqueue_operator.core.status import not_ready, ready, scaling, tasks
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.reporting import COUNTER_INTERVAL_S, Reporter
from unit.operator.samples import group_body
from waiting import eventually


class Writes:
    """Takes statuses as the API server does, and answers when it may."""

    def __init__(self) -> None:
        self.patches: list[Mapping[str, Any]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._body = group_body()

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        self.patches.append(patch)
        await self.may_answer.wait()
        version = str(int(self._body["metadata"]["resourceVersion"]) + 1)
        self._body = {
            **self._body,
            "metadata": {**self._body["metadata"], "resourceVersion": version},
            "status": {**self._body.get("status", {}), **patch},
        }
        return self._body

    async def create_event(self, *_: object) -> None:
        raise ApiError(0, "Unreachable", "the API server is away")


class Desk:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.writes, self.cache = Writes(), Cache()
        self.cache.observe_group(group_body())
        self.reporter = Reporter(cast("Kubernetes", self.writes), self.cache, lambda: self.now)

    @property
    def group(self) -> Group:
        return next(iter(self.cache.groups.values()))

    def count(self, ready: int) -> None:
        self.reporter.report(self.group, {"tasks": tasks(ready, 0)}, urgent=False)

    async def settled(self) -> list[Mapping[str, Any]]:
        """What was written, once everything that does not wait for the clock has happened."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.writes.patches


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    desk.reporter.start()
    yield desk
    await desk.reporter.stop()


async def test_the_first_count_is_written_at_once_and_the_next_ones_wait(desk: Desk) -> None:
    desk.count(1)
    assert [patch["tasks"]["ready"] for patch in await desk.settled()] == [1]
    for number in range(2, 9):
        desk.count(number)
    assert len(await desk.settled()) == 1
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S)
    desk.count(9)
    assert [patch["tasks"]["ready"] for patch in await desk.settled()] == [1, 9]


async def test_a_count_that_comes_while_one_is_written_waits_as_well(desk: Desk) -> None:
    desk.writes.may_answer.clear()
    desk.count(1)
    await desk.settled()
    desk.count(2)
    desk.writes.may_answer.set()
    assert len(await desk.settled()) == 1


async def test_counts_ride_along_with_what_is_urgent_and_wait_after_it(desk: Desk) -> None:
    desk.count(1)
    await desk.settled()
    desk.count(2)
    desk.reporter.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    assert [patch["tasks"]["ready"] for patch in await desk.settled()] == [1, 2]
    assert [condition["reason"] for condition in desk.writes.patches[1]["conditions"]] == ["NatsUnavailable"]
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S / 2)
    desk.count(3)
    assert len(await desk.settled()) == 2


async def test_what_is_reported_while_a_count_is_written_is_announced_once(desk: Desk) -> None:
    announced: list[str] = []
    desk.reporter.event = lambda _meta, _kind, reason, _message: announced.append(reason)  # type: ignore[method-assign]
    desk.writes.may_answer.clear()
    desk.count(1)
    await desk.settled()
    desk.reporter.report(desk.group, {}, [not_ready(1, "InvalidSpec", "wrong")])
    desk.writes.may_answer.set()
    assert len(await desk.settled()) == 2
    assert announced == ["InvalidSpec"]


async def test_what_is_taken_back_while_it_is_written_does_not_stand(desk: Desk) -> None:
    desk.reporter.report(desk.group, {}, [ready(1, "as specified")])
    await desk.settled()
    desk.writes.may_answer.clear()
    desk.reporter.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    await desk.settled()
    desk.reporter.report(desk.group, {}, [ready(1, "as specified")])
    desk.writes.may_answer.set()
    reasons = [patch["conditions"][0]["reason"] for patch in await desk.settled()]
    assert reasons == ["Reconciled", "NatsUnavailable", "Reconciled"]


async def test_the_first_count_does_not_wait_because_of_what_was_urgent(desk: Desk) -> None:
    desk.reporter.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    await desk.settled()
    desk.count(1)
    assert len(await desk.settled()) == 2


async def test_counts_that_wait_are_not_let_through_by_urgent_word_of_what_is_known(desk: Desk) -> None:
    desk.reporter.report(desk.group, {"observedGeneration": 1}, [not_ready(1, "NatsUnavailable", "away")])
    desk.count(1)
    await desk.settled()
    desk.count(2)
    desk.reporter.report(desk.group, {"observedGeneration": 1}, [not_ready(1, "NatsUnavailable", "away")])
    assert len(await desk.settled()) == 1


async def test_a_flood_of_reasons_for_a_size_costs_no_more_writes_than_counts_do(desk: Desk) -> None:
    for number in range(1, 9):
        desk.count(number)
        condition = scaling(1, "Stable", f"{number} tasks outstanding")
        desk.reporter.report(desk.group, {"desiredReplicas": number}, [condition], urgent=False)
        await desk.settled()
    assert len(desk.writes.patches) <= 2


async def test_what_waited_is_written_in_the_end(desk: Desk) -> None:
    desk.count(1)
    await desk.settled()
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S - 0.01)
    desk.count(2)
    desk.now += timedelta(seconds=0.01)
    await eventually(lambda: [patch["tasks"]["ready"] for patch in desk.writes.patches] == [1, 2], timeout_s=2)


async def test_of_what_is_gone_nothing_is_said_and_nothing_kept(desk: Desk) -> None:
    group = desk.group
    desk.cache.remove(group.meta.key, group.meta.uid)
    desk.reporter.forget(group.meta.key)
    desk.reporter.report(group, {"tasks": tasks(1, 0)})  # a look at it was still under way
    assert await desk.settled() == []
    assert not desk.reporter._wanted


async def test_events_that_nobody_takes_do_not_pile_up(desk: Desk) -> None:
    for number in range(1500):
        desk.reporter.event(desk.group.meta, "Normal", "ScaledUp", f"to {number} workers")
        if number % 100 == 0:
            await desk.settled()
    await eventually(lambda: not desk.reporter._events._ready.qsize())
    assert len(desk.reporter._events) <= 1000
    assert len(desk.reporter._events._timers) <= 1000, "what waits to be tried again counts"

"""When statuses are written. The clock stands still unless a test moves it: what has to wait, waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest_asyncio

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.api.v1alpha1.status import not_ready, ready, tasks
from protoqueue_operator.autoscaling.scaling_conditions import scaling
from protoqueue_operator.caches import Caches
from protoqueue_operator.runtime.client import ApiError, Kubernetes
from protoqueue_operator.runtime.metrics import Metrics
from protoqueue_operator.runtime.status_writer import COUNTER_INTERVAL_S
from protoqueue_operator.wiring import make_status_writer
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

    def touched(self, status: dict[str, Any]) -> dict[str, Any]:
        """The object after somebody else has patched its status."""
        version = str(int(self._body["metadata"]["resourceVersion"]) + 1)
        meta = {**self._body["metadata"], "resourceVersion": version}
        self._body = {**self._body, "metadata": meta, "status": {**self._body.get("status", {}), **status}}
        return self._body

    async def create_event(self, *_: object) -> str:
        raise ApiError(0, "Unreachable", "the API server is away")


class Desk:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.writes, self.caches = Writes(), Caches()
        self.caches.groups.observe(group_body())
        kubernetes = cast("Kubernetes", self.writes)
        self.status, self.events = make_status_writer(kubernetes, self.caches, lambda: self.now, Metrics())

    @property
    def group(self) -> Group:
        return next(iter(self.caches.groups.values()))

    def count(self, ready: int) -> None:
        self.status.report(self.group, {"tasks": tasks(ready, 0)}, urgent=False)

    async def settled(self) -> list[Mapping[str, Any]]:
        """What was written, once everything that does not wait for the clock has happened."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.writes.patches


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    desk.status.start()
    desk.events.start()
    yield desk
    await desk.status.stop()
    await desk.events.stop()


async def test_the_first_count_is_written_at_once_and_the_next_ones_wait(desk: Desk) -> None:
    desk.count(1)
    assert [patch["tasks"]["waiting"] for patch in await desk.settled()] == [1]
    for number in range(2, 9):
        desk.count(number)
    assert len(await desk.settled()) == 1
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S)
    desk.count(9)
    assert [patch["tasks"]["waiting"] for patch in await desk.settled()] == [1, 9]


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
    desk.status.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    assert [patch["tasks"]["waiting"] for patch in await desk.settled()] == [1, 2]
    assert {condition["reason"] for condition in desk.writes.patches[1]["conditions"]} == {"NatsUnavailable"}
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S / 2)
    desk.count(3)
    assert len(await desk.settled()) == 2


async def test_what_is_reported_while_a_count_is_written_is_announced_once(desk: Desk) -> None:
    announced: list[str] = []
    desk.events.event = lambda _meta, _kind, reason, _message: announced.append(reason)  # type: ignore[method-assign]
    desk.writes.may_answer.clear()
    desk.count(1)
    await desk.settled()
    desk.status.report(desk.group, {}, [not_ready(1, "InvalidSpec", "wrong")])
    desk.writes.may_answer.set()
    assert len(await desk.settled()) == 2
    assert announced == ["InvalidSpec"]


async def test_what_is_taken_back_while_it_is_written_does_not_stand(desk: Desk) -> None:
    desk.status.report(desk.group, {}, [ready(1, "as specified")])
    await desk.settled()
    desk.writes.may_answer.clear()
    desk.status.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    await desk.settled()
    desk.status.report(desk.group, {}, [ready(1, "as specified")])
    desk.writes.may_answer.set()
    reasons = [patch["conditions"][0]["reason"] for patch in await desk.settled()]
    assert reasons == ["Reconciled", "NatsUnavailable", "Reconciled"]


async def test_the_first_count_does_not_wait_because_of_what_was_urgent(desk: Desk) -> None:
    desk.status.report(desk.group, {}, [not_ready(1, "NatsUnavailable", "away")])
    await desk.settled()
    desk.count(1)
    assert len(await desk.settled()) == 2


async def test_counts_that_wait_are_not_let_through_by_urgent_word_of_what_is_known(desk: Desk) -> None:
    desk.status.report(desk.group, {"observedGeneration": 1}, [not_ready(1, "NatsUnavailable", "away")])
    desk.count(1)
    await desk.settled()
    desk.count(2)
    desk.status.report(desk.group, {"observedGeneration": 1}, [not_ready(1, "NatsUnavailable", "away")])
    assert len(await desk.settled()) == 1


async def test_a_flood_of_reasons_for_a_size_costs_no_more_writes_than_counts_do(desk: Desk) -> None:
    for number in range(1, 9):
        desk.count(number)
        condition = scaling(1, "Stable", f"{number} tasks outstanding")
        desk.status.report(desk.group, {"desiredReplicas": number}, [condition], urgent=False)
        await desk.settled()
    assert len(desk.writes.patches) <= 2


async def test_what_waited_is_written_in_the_end(desk: Desk) -> None:
    desk.count(1)
    await desk.settled()
    desk.now += timedelta(seconds=COUNTER_INTERVAL_S - 0.01)
    desk.count(2)
    desk.now += timedelta(seconds=0.01)
    await eventually(lambda: [patch["tasks"]["waiting"] for patch in desk.writes.patches] == [1, 2])


async def test_of_what_is_gone_nothing_is_said_and_nothing_kept(desk: Desk) -> None:
    group = desk.group
    desk.caches.groups.remove(group.meta.key, group.meta.uid)
    desk.status.forget(group.meta.key)
    desk.status.report(group, {"tasks": tasks(1, 0)})  # a look at it was still under way
    assert await desk.settled() == []
    assert not desk.status._wanted


async def test_events_that_nobody_takes_do_not_pile_up(desk: Desk) -> None:
    for number in range(1500):
        desk.events.event(desk.group.meta, "Normal", "ScaledUp", f"to {number} workers")
        if number % 100 == 0:
            await desk.settled()
    await eventually(lambda: not desk.events.sends._ready.qsize())
    assert len(desk.events.sends) <= 1000
    assert len(desk.events.sends._timers) <= 1000, "what waits to be tried again counts"


async def test_a_status_that_somebody_else_has_changed_is_put_right(desk: Desk) -> None:
    desk.status.report(desk.group, {"desiredReplicas": 3}, [ready(1, "as specified")])
    await desk.settled()
    body = desk.writes.touched({"conditions": [{"type": "Ready", "status": "False", "reason": "X", "message": ""}]})
    desk.status.compare(desk.caches.groups.observe(body))
    await eventually(
        lambda: desk.group.status.condition("Ready") and desk.group.status.condition("Ready").status == "True"
    )  # type: ignore[union-attr]
    desk.status.compare(desk.group)
    count = len(desk.writes.patches)
    await desk.settled()
    assert len(desk.writes.patches) == count, "what is right is not written again"


async def test_counts_of_very_many_objects_share_a_budget(desk: Desk) -> None:
    names = [f"g{number}" for number in range(200)]
    groups = [desk.caches.groups.observe(group_body(name=name) | {"status": {"tasks": tasks(0, 0)}}) for name in names]
    for group in groups:
        desk.status.report(group, {"tasks": tasks(1, 0)}, urgent=False)
    assert len(await desk.settled()) <= 21, "as many as may come at once"
    desk.now += timedelta(seconds=5)
    for group in groups:
        desk.status.report(group, {"tasks": tasks(2, 0)}, urgent=False)
    await desk.settled()
    assert len(desk.writes.patches) <= 21 + 50 + 1
    desk.status.report(groups[-1], {}, [not_ready(1, "InvalidSpec", "urgent")])
    assert "InvalidSpec" in [
        patch["conditions"][0]["reason"] for patch in await desk.settled() if "conditions" in patch
    ]
    assert desk.status.fields_of(groups[-2])["tasks"] == tasks(2, 0), "metrics do not wait for the budget"


async def test_a_namespace_on_its_way_out_is_asked_once_whether_it_takes_events() -> None:
    desk, asked = Desk(), []

    async def refuse(namespace: str, _: object) -> str:
        asked.append(namespace)
        raise ApiError(403, "Forbidden", "unable to create new content in namespace x because it is being terminated")

    desk.writes.create_event = refuse  # type: ignore[method-assign]
    desk.events.start()
    try:
        for number in range(20):
            desk.events.event(desk.group.meta, "Warning", "LeftBehind", f"something {number}")
        await eventually(lambda: not len(desk.events.sends))
        assert len(asked) == 1
        desk.now += timedelta(minutes=5)  # another may have been made under its name
        desk.events.event(desk.group.meta, "Warning", "LeftBehind", "something else")
        await eventually(lambda: len(asked) == 2)
    finally:
        await desk.events.stop()

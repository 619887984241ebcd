"""What is concluded from the answers of a NATS of which servers come and go."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.core.doubts import DISBELIEF_S
from protoqueue_operator.reconcile import backlogs
from protoqueue_operator.reconcile.backlogs import Backlogs
from unit.operator.samples import queue

TASKS, LATER, DEAD = "PQ_default_email", "PQ_default_email_LATER", "PQ_default_email_DLQ"


class Nats:
    """One queue's streams by what they hold; of those `away` nobody tells."""

    def __init__(self) -> None:
        self.holds = {TASKS: 100, LATER: 5, DEAD: 3}
        self.away: set[str] = set()
        self.pending = 100
        self.due_later: int | None = 5

    async def streams(self) -> AsyncIterator[Any]:
        yield SimpleNamespace(
            found=[self._info(name) for name in self.holds if name not in self.away], missing=self.away
        )

    async def stream(self, name: str) -> dict[str, Any]:
        return self._info(name)

    async def consumers(self, _: str) -> list[dict[str, Any]]:
        return [{"name": "g_p0", "num_pending": self.pending, "num_ack_pending": 0, "delivered": {"consumer_seq": 0}}]

    async def consumer(self, _: str, __: str) -> dict[str, Any] | None:
        return None if self.due_later is None else {"num_pending": self.due_later}

    def _info(self, name: str) -> dict[str, Any]:
        state = {"messages": self.holds[name], "first_ts": "2026-01-01T00:00:00Z", "last_seq": 100}
        return {"config": {"name": name}, "state": state}


class Undisturbed:
    """In the place of the watch for drift."""

    async def listen(self) -> None:
        """Nothing is heard."""

    def streams_are_due(self) -> bool:
        return False

    def compare_consumers(self, *_: object) -> None:
        """All is as it should be."""


class Desk:
    def __init__(self) -> None:
        self.nats, self.now, self.queue = Nats(), 1000.0, queue()
        self.backlogs = Backlogs(cast("Any", self.nats), cast("Any", Undisturbed()))

    async def look(self, *, closely: bool = False) -> Any:
        await self.backlogs.sweep({self.queue.meta.key: self.queue})
        return await self.backlogs.sample(self.queue, closely=closely)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr(backlogs, "time", SimpleNamespace(monotonic=lambda: desk.now))
    return desk


async def test_consumers_that_tell_of_nothing_too_early_are_not_believed(desk: Desk) -> None:
    assert (await desk.look()).consumers["g_p0"].pending == 100
    desk.nats.pending = 0
    for _ in range(int(DISBELIEF_S)):
        assert await desk.look(closely=True) is None
        desk.now += 1
    desk.nats.pending = 100
    assert (await desk.look()).consumers["g_p0"].pending == 100
    desk.nats.pending = 0
    assert await desk.look() is None, "also not the next time"


async def test_of_a_stream_that_holds_no_tasks_zero_is_believed_in_the_end_and_then_at_once(desk: Desk) -> None:
    desk.nats.pending, desk.nats.holds[TASKS] = 0, 1
    assert await desk.look() is None
    desk.now += DISBELIEF_S
    assert (await desk.look()).consumers["g_p0"].pending == 0
    desk.nats.pending, desk.nats.holds[TASKS] = 9, 10
    assert (await desk.look()).consumers["g_p0"].pending == 9
    desk.nats.pending, desk.nats.holds[TASKS] = 0, 1
    assert (await desk.look()).consumers["g_p0"].pending == 0


async def test_an_empty_stream_is_believed_at_once(desk: Desk) -> None:
    await desk.look()
    desk.nats.pending, desk.nats.holds[TASKS] = 0, 0
    assert (await desk.look(closely=True)).consumers["g_p0"].pending == 0


async def test_what_a_server_that_is_away_holds_is_unknown_and_not_zero(desk: Desk) -> None:
    desk.nats.away = {LATER, DEAD}
    sample = await desk.look()
    assert (sample.scheduled, sample.dead) == (None, None)
    desk.nats.away = set()
    sample = await desk.look()
    assert (sample.scheduled, sample.dead) == (5, 3)
    desk.nats.away = {LATER, DEAD}
    sample = await desk.look()
    assert (sample.scheduled, sample.dead) == (5, 3), "as it was: nobody can have changed it"


async def test_without_its_counter_nobody_knows_how_many_tasks_are_not_yet_due(desk: Desk) -> None:
    desk.nats.due_later = None
    assert (await desk.look()).scheduled is None
    desk.nats.due_later = 5
    assert (await desk.look()).scheduled == 5

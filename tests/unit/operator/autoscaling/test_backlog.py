"""What is concluded from the answers of a NATS of which servers come and go."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.autoscaling import backlog
from protoqueue_operator.autoscaling.backlog import Backlogs
from protoqueue_operator.autoscaling.stale_reads import DISBELIEF_S
from unit.operator.samples import queue

TASKS, DEAD = "PQ_default_email", "PQ_default_email_DLQ"


class Nats:
    """One queue's streams by what they hold; of those `away` nobody tells."""

    def __init__(self) -> None:
        self.holds = {TASKS: 105, DEAD: 3}
        self.away: set[str] = set()
        self.pending = 100
        self.scheduled: int | None = 5
        self.subjects: dict[str, int] = {}
        self.recurring = 0
        self.subjects_asked = self.consumers_asked = 0
        self.moved = 0

    async def streams(self) -> AsyncIterator[Any]:
        yield SimpleNamespace(
            found=[self._info(name) for name in self.holds if name not in self.away], missing=self.away
        )

    async def stream(self, name: str, within: str = "") -> dict[str, Any]:
        if within.endswith(".cron.>"):
            subjects = {"pq.default.email.cron.nightly": self.recurring} if self.recurring else {}
        else:
            subjects = self.subjects
            self.subjects_asked += 1
        info = self._info(name)
        return {**info, "state": {**info["state"], "subjects": subjects}}

    async def first_message(self, _: str, subject: str) -> dict[str, Any] | None:
        return {"time": "2026-02-02T00:00:00Z"} if subject.endswith(".due.>") else None

    async def consumers(self, _: str) -> list[dict[str, Any]]:
        self.consumers_asked += 1
        told = {"g_p0": self.pending, "_scheduled": self.scheduled}
        counts = {"num_ack_pending": 0, "delivered": {"consumer_seq": 0}}
        config = {"filter_subject": "pq.default.email.task.0"}
        return [
            {"name": name, "stream_name": TASKS, "config": config, "num_pending": pending, **counts}
            for name, pending in told.items()
            if pending is not None
        ]

    def _info(self, name: str) -> dict[str, Any]:
        state = {"messages": self.holds[name], "first_ts": "2026-01-01T00:00:00Z", "last_seq": 100 + self.moved}
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
    monkeypatch.setattr(backlog, "time", SimpleNamespace(monotonic=lambda: desk.now))
    return desk


GROUP = (TASKS, "g_p0")


async def test_consumers_that_tell_of_nothing_too_early_are_not_believed(desk: Desk) -> None:
    assert (await desk.look()).consumers[GROUP].pending == 100
    desk.nats.pending = 0
    for _ in range(int(DISBELIEF_S)):
        assert await desk.look(closely=True) is None
        desk.now += 1
    desk.nats.pending = 100
    assert (await desk.look()).consumers[GROUP].pending == 100
    desk.nats.pending = 0
    assert await desk.look() is None, "also not the next time"


async def test_of_a_stream_that_holds_no_tasks_zero_is_believed_in_the_end_and_then_at_once(desk: Desk) -> None:
    desk.nats.pending, desk.nats.holds[TASKS] = 0, 6
    assert await desk.look() is None
    desk.now += DISBELIEF_S
    assert (await desk.look()).consumers[GROUP].pending == 0
    desk.nats.pending, desk.nats.holds[TASKS] = 9, 15
    assert (await desk.look()).consumers[GROUP].pending == 9
    desk.nats.pending, desk.nats.holds[TASKS] = 0, 6
    assert (await desk.look()).consumers[GROUP].pending == 0


async def test_a_stream_in_which_nothing_is_due_is_believed_at_once(desk: Desk) -> None:
    await desk.look()
    desk.nats.pending, desk.nats.holds[TASKS], desk.nats.recurring = 0, 6, 1
    assert (await desk.look(closely=True)).consumers[GROUP].pending == 0


async def test_where_nothing_is_due_nobody_is_asked_until_the_stream_changes(desk: Desk) -> None:
    desk.queue = queue(schedules=[{"name": "nightly", "cron": "0 3 * * *"}])
    desk.nats.pending, desk.nats.holds[TASKS], desk.nats.recurring = 0, 6, 1
    for _ in range(3):
        sample = await desk.look()
        assert (sample.scheduled, sample.tasks.first_at) == (5, "")
    assert desk.nats.consumers_asked == 1
    assert desk.backlogs.is_resting(desk.queue)
    desk.nats.moved, desk.nats.scheduled, desk.nats.pending = 1, 4, 1
    await desk.backlogs.sweep({desk.queue.meta.key: desk.queue})
    assert not desk.backlogs.is_resting(desk.queue)
    sample = await desk.look()
    assert (sample.scheduled, sample.consumers[GROUP].pending) == (4, 1)


async def test_the_oldest_task_is_the_oldest_that_is_due(desk: Desk) -> None:
    assert (await desk.look()).tasks.first_at == "2026-02-02T00:00:00Z"
    desk.nats.holds[TASKS], desk.nats.scheduled = 100, 0
    assert (await desk.look()).tasks.first_at == "2026-01-01T00:00:00Z"


async def test_what_a_server_that_is_away_holds_is_unknown_and_not_zero(desk: Desk) -> None:
    desk.nats.away = {TASKS, DEAD}
    sample = await desk.look()
    assert (sample.tasks, sample.scheduled, sample.dead) == (None, None, None)
    desk.nats.away = set()
    sample = await desk.look()
    assert (sample.scheduled, sample.dead) == (5, 3)
    desk.nats.away = {DEAD}
    assert (await desk.look()).dead == 3, "as it was: nobody can have changed it"


async def test_without_its_counter_nobody_knows_how_many_tasks_are_not_yet_due(desk: Desk) -> None:
    desk.nats.scheduled = None
    assert (await desk.look()).scheduled is None
    desk.nats.scheduled = 5
    assert (await desk.look()).scheduled == 5


async def test_what_no_consumer_takes_is_found_by_its_subject_and_looked_at_now_and_then(desk: Desk) -> None:
    desk.nats.holds[TASKS] = 107
    desk.nats.subjects = {"pq.default.email.task.0": 100, "pq.default.email.task.9": 2}
    for _ in range(5):
        assert (await desk.look()).stranded == {"pq.default.email.task.9": 2}
        desk.now += 1
    patterns = len(desk.queue.name.waiting_subjects(ordered=False))
    assert desk.nats.subjects_asked == patterns
    desk.nats.holds[TASKS] = 105
    assert (await desk.look()).stranded == {}
    assert desk.nats.subjects_asked == patterns, "not while the consumers tell of everything"


async def test_tasks_that_came_and_are_done_already_are_asked_for_once(desk: Desk) -> None:
    desk.nats.pending, desk.nats.scheduled, desk.nats.holds[TASKS] = 0, 0, 0
    assert (await desk.look()).consumers is None, "nothing has happened since it was first seen"
    desk.nats.moved = 3
    assert (await desk.look()).consumers is not None
    assert (await desk.look()).consumers is None

"""Waiting for results: all callers that wait for tasks of a queue share subscriptions and reads."""

import asyncio
import contextlib
from collections import deque

from protoqueue.aio import cancel
from protoqueue.broker import Broker, Subscription
from protoqueue.errors import Unavailable
from protoqueue.history.decode import parse_record
from protoqueue.history.model import AttemptOutcome, TaskRecord
from protoqueue.history.read import MOST_TASKS_AT_ONCE, last_records
from protoqueue.protocol.config import History
from protoqueue.protocol.names import QueueName

MOST_SUBSCRIPTIONS = 16
"""How many tasks are listened for individually. Beyond that, one subscription hears all tasks of the queue."""

_READ_TIMEOUT_S = 5.0
_READ_AGAIN_S = (0.2, 1.0, 5.0, 15.0, 60.0)
"""When to look again for a record that was not heard: it may have been on its way into the stream."""

_LAST = {
    outcome.token: outcome
    for outcome in AttemptOutcome
    if outcome not in (AttemptOutcome.RETRIED, AttemptOutcome.SNOOZED, AttemptOutcome.THROTTLED)
}


class Results:
    """Of one queue, for one client. `close` ends all waiting."""

    def __init__(self, broker: Broker, name: QueueName) -> None:
        self._broker = broker
        self._name = name
        self._waiting: dict[str, _Waiting] = {}
        """By the last token of their records' subjects."""
        self._single: dict[str, Subscription] = {}
        self._shared: Subscription | None = None
        self._subscribing = asyncio.Lock()
        self._unread: deque[str] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._hears_of_reconnects = False

    async def last_record(self, history: History, task_id: str, timeout_s: float | None) -> TaskRecord:
        """The record of the task's last attempt, once there is one.

        Raises TimeoutError, and Unavailable when this is closed.
        """
        token = self._name.record("*", task_id).rpartition(".")[2]
        waiting = self._waiting.get(token)
        if not self._hears_of_reconnects:
            self._broker.on_reconnect(self._read_all)
            self._hears_of_reconnects = True
        if waiting is None:
            waiting = self._waiting[token] = _Waiting(task_id, history)
        waiting.count += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._listen(token)
                if not waiting.record.done() and waiting.count == 1:
                    self._read(token)
                return await asyncio.shield(waiting.record)
        finally:
            waiting.count -= 1
            if not waiting.count:
                self._forget(token, waiting)

    async def close(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.record.done():
                waiting.record.set_exception(Unavailable("this client is closed"))
        await cancel(*filter(None, (self._reader, *self._ending)))

    async def _listen(self, token: str) -> None:
        if self._shared is not None or token in self._single:
            return
        async with self._subscribing:
            if self._shared is not None or token in self._single:
                return
            if len(self._single) < MOST_SUBSCRIPTIONS:
                self._single[token] = await self._broker.overhear(
                    f"{self._name.record_prefix('*')}{token}", self._heard
                )
                return
            self._shared = await self._broker.overhear(self._name.all_records, self._heard)
            single, self._single = self._single, {}
            for subscription in single.values():
                self._end(subscription)

    def _heard(self, subject: str, data: bytes) -> None:
        *_, outcome, token = subject.rsplit(".", 2)
        waiting = self._waiting.get(token)
        if waiting is not None and outcome in _LAST and (record := parse_record(data)) is not None:
            waiting.came(record)

    def _read(self, token: str) -> None:
        self._unread.append(token)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read_on())

    def _read_all(self) -> None:
        """Records published while disconnected were not heard."""
        for token in self._waiting:
            self._read(token)

    async def _read_on(self) -> None:
        """Read the requested records together; tasks without a record yet are read again later."""
        while self._unread:
            tokens = {self._unread.popleft() for _ in range(min(len(self._unread), MOST_TASKS_AT_ONCE))}
            asked = {token: self._waiting[token] for token in tokens if token in self._waiting}
            by_id = {waiting.task_id: waiting for waiting in asked.values() if not waiting.record.done()}
            if not by_id:
                continue
            history = next(iter(by_id.values())).history
            with contextlib.suppress(Unavailable):
                for record in await last_records(self._broker, self._name, history, list(by_id), _READ_TIMEOUT_S):
                    if record.outcome.token in _LAST and record.id in by_id:
                        by_id[record.id].read = record
            for token, waiting in asked.items():
                if waiting.read is not None:
                    waiting.came(waiting.read)
                elif token in self._waiting and not waiting.record.done():
                    self._read_later(token, waiting)

    def _read_later(self, token: str, waiting: "_Waiting") -> None:
        delay_s = _READ_AGAIN_S[min(waiting.reads, len(_READ_AGAIN_S) - 1)]
        waiting.reads += 1
        if waiting.timer is not None:
            waiting.timer.cancel()
        waiting.timer = asyncio.get_running_loop().call_later(delay_s, self._read, token)

    def _forget(self, token: str, waiting: "_Waiting") -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        if self._waiting.get(token) is waiting:
            del self._waiting[token]
        if (single := self._single.pop(token, None)) is not None:
            self._end(single)
        if not self._waiting and self._shared is not None:
            shared, self._shared = self._shared, None
            self._end(shared)

    def _end(self, subscription: Subscription) -> None:
        task = asyncio.get_running_loop().create_task(subscription.unsubscribe())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Waiting:
    """The callers that wait for one task."""

    def __init__(self, task_id: str, history: History) -> None:
        self.task_id = task_id
        self.history = history
        self.count = 0
        self.reads = 0
        self.read: TaskRecord | None = None
        """The last record that was read: there may be several, of a task that was redriven."""
        self.record: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None

    def came(self, record: TaskRecord) -> None:
        if not self.record.done():
            self.record.set_result(record)

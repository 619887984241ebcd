"""The current state of all queues, read once for all watchers, and not at all without any."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from protoqueue import ProtoQueueError, QueueOverview, QueueStats
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import GROUPS, QUEUES, Json, Kubernetes
from protoqueue_gateway.kubernetes.mirror import Mirror
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import Away, ServiceError
from protoqueue_gateway.service.queue_rows import QueueRow, queue_of, queue_row
from protoqueue_gateway.service.rates import Rate

log = logging.getLogger(__name__)

LOOK_S = 0.4
"""The interval between two reads of JetStream."""
_LINGER_S = 600.0
"""How long to go on after the last watcher has left: they tend to come back."""
_FIRST_S = 10.0
_MOST_GONE = 1000


@dataclass(frozen=True)
class LiveQueue:
    """A queue's row, and the Queue, ConsumerGroups and counts that it was made of. No `stats` where NATS has none."""

    row: QueueRow
    body: Json
    groups: Sequence[Json]
    stats: QueueStats | None


@dataclass
class _Known:
    """A queue's row, and the data it was made from."""

    row: QueueRow
    version: int
    body: Json
    groups: Sequence[Json]
    overview: QueueOverview | None
    arrivals: Rate = field(default_factory=Rate)
    completions: Rate = field(default_factory=Rate)


class LiveQueues:
    """`version` grows with each change; versions of another `epoch`, such as another replica's, are meaningless."""

    def __init__(self, kubernetes: Kubernetes, connection: Connection, namespaces: Sequence[str]) -> None:
        """Of these namespaces, or of all if none is named."""
        self._kubernetes = kubernetes
        self._connection = connection
        self._namespaces = namespaces
        self._mirror()
        self._known: dict[QueueName, _Known] = {}
        self._gone: dict[QueueName, int] = {}
        self._tick = asyncio.Condition()
        self._viewers = 0
        self._running: asyncio.Task[None] | None = None
        self._left_at = 0.0
        self.version = 0
        self.epoch = ""

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep the state current within this block. Raises Away if Kubernetes does not answer in time."""
        self._viewers += 1
        try:
            self._begin()
            if not self._is_ready:
                await self._first_look()
            yield
        finally:
            self._viewers -= 1
            self._left_at = time.monotonic()

    def expect(self, for_s: float = 60.0) -> None:
        """Look for so many seconds as if somebody watched, for who is about to: the first page waits for nothing."""
        self._left_at = max(self._left_at, time.monotonic() - _LINGER_S + for_s)
        self._begin()

    def _begin(self) -> None:
        if self._running is None:
            self.epoch = secrets.token_hex(4)
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def rows(self) -> Mapping[QueueName, QueueRow]:
        return {name: known.row for name, known in self._known.items()}

    def find(self, name: QueueName) -> "LiveQueue | None":
        """All that is known of a queue; None if it does not exist."""
        known = self._known.get(name)
        if known is None:
            return None
        return LiveQueue(known.row, known.body, known.groups, known.overview.stats if known.overview else None)

    def changes(self, since: int) -> tuple[list[QueueRow], list[QueueName]]:
        """The rows that have changed since a version, and the queues that are gone."""
        rows = [known.row for known in self._known.values() if known.version > since]
        return rows, [name for name, version in self._gone.items() if version > since]

    async def until_after(self, version: int, at_most_s: float) -> None:
        """Wait for a change after a version; with none, return after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s), self._tick:
                await self._tick.wait_for(lambda: self.version > version)

    @property
    def _is_ready(self) -> bool:
        return self.version > 0

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(_FIRST_S), self._tick:
                await self._tick.wait_for(lambda: self._is_ready)
        except TimeoutError:
            raise Away("the queues could not be listed: Kubernetes does not answer") from None

    def _mirror(self) -> None:
        self._queues = Mirror(self._kubernetes, QUEUES, self._namespaces)
        self._groups = Mirror(self._kubernetes, GROUPS, self._namespaces)

    async def _run(self) -> None:
        """Runs until there has been no watcher for some minutes."""
        mirrors = [asyncio.create_task(mirror.run()) for mirror in (self._queues, self._groups)]
        try:
            await asyncio.gather(self._queues.completed.wait(), self._groups.completed.wait())
            await self._show({})  # data from Kubernetes is available at once, counts of many queues are not
            while self._is_watched:
                await self._follow()
        finally:
            self._running = None
            self._known, self._gone, self.version = {}, {}, 0
            self._mirror()
            for mirror in mirrors:
                mirror.cancel()
            await asyncio.gather(*mirrors, return_exceptions=True)

    @property
    def _is_watched(self) -> bool:
        return self._viewers > 0 or time.monotonic() - self._left_at < _LINGER_S

    async def _follow(self) -> None:
        """Runs until there is no watcher, or NATS does not answer: then the statuses have the last counts."""
        try:
            async with contextlib.aclosing(
                self._connection.client.follow_overview(LOOK_S, expected=self._names)
            ) as looks:
                async for found in looks:
                    await self._show(found)
                    if not self._is_watched:
                        return
        except (ProtoQueueError, ServiceError) as error:
            log.debug("the queues could not be counted: %s", error)
        except Exception:
            log.exception("the queues could not be looked at, trying again")
        await self._show({})
        await asyncio.sleep(LOOK_S)

    def _names(self) -> list[str]:
        return [f"{namespace}/{name}" for namespace, name in self._queues.objects]

    async def _show(self, found: Mapping[str, QueueOverview]) -> None:
        """Rebuild the rows that have changed, and notify waiting callers."""
        version, now_s, has_changed = self.version + 1, time.monotonic(), self.version == 0
        groups = self._groups_by_queue()
        for key, body in self._queues.objects.items():
            queue = QueueName(*key)
            has_changed |= self._update(queue, body, groups.get(queue, ()), found.get(str(queue)), version, now_s)
        there = self._queues.objects
        for name in [name for name in self._known if (name.namespace, name.name) not in there]:
            del self._known[name]
            self._gone[name] = version
            has_changed = True
        while len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        if has_changed:
            async with self._tick:
                self.version = version
                self._tick.notify_all()

    def _update(
        self, name: QueueName, body: Json, groups: Sequence[Json], found: QueueOverview | None, version: int,
        now_s: float,
    ) -> bool:  # fmt: skip
        """Whether the row has changed."""
        known = self._known.get(name)
        if known is not None and self._is_same(known, body, groups, found):
            return False
        arrivals = known.arrivals if known else Rate()
        completions = known.completions if known else Rate()
        rates = (
            (arrivals.look(now_s, found.progress.stored), completions.look(now_s, found.progress.removed))
            if found
            else (None, None)
        )
        row = queue_row(name, body, groups, found, *rates)
        is_new = known is None or known.row != row
        self._known[name] = _Known(
            row, version if known is None or is_new else known.version, body, groups, found, arrivals, completions
        )
        self._gone.pop(name, None)
        return is_new

    @staticmethod
    def _is_same(known: _Known, body: Json, groups: Sequence[Json], found: QueueOverview | None) -> bool:
        """Whether it was made from the same data; non-zero rates change while nothing else does."""
        if known.body is not body or known.overview is not found:
            return False
        if found is not None and (known.row.arrivals, known.row.completions) != (0, 0):
            return False
        return len(known.groups) == len(groups) and all(a is b for a, b in zip(known.groups, groups, strict=True))

    def _groups_by_queue(self) -> Mapping[QueueName, Sequence[Json]]:
        found: dict[QueueName, list[Json]] = {}
        for (namespace, _), body in sorted(self._groups.objects.items()):
            if queue := queue_of(body):
                found.setdefault(QueueName(namespace, queue), []).append(body)
        return found

"""A pause of a whole group, requested by one of its handlers' `Throttle` and shared by all its workers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from protoqueue.aio import cancel
from protoqueue.broker import Broker, WrongRevision
from protoqueue.broker.config_watch import Watch
from protoqueue.errors import ProtoQueueError
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.throttle import LONGEST, ThrottledUntil, read_throttle
from protoqueue.protocol.worker_status import host_name
from protoqueue.ratelimit.clock import ServerClock
from protoqueue.settlement.retry_forever import retry_forever

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_FIRST_READ_S = 5.0
_LAST_WRITE_S = 1.0
"""How long a stopping worker goes on trying to tell the others."""


class GroupThrottle:
    """One worker's part.

    It closes here at once, and elsewhere as soon as NATS has told the others. `changed` is called when it closes and
    when it opens. Until `run` has read it once, the state is unknown.
    """

    def __init__(self, broker: Broker, group: GroupName, changed: Callable[[], None]) -> None:
        self._broker = broker
        self._group = group
        self._changed = changed
        self._clock = ServerClock(lambda: broker.server_time_us(TIMEOUT_S))
        self._opens_at = 0.0
        self._said: list[tuple[float, str]] = []
        self._is_known = False
        self._writing: asyncio.Task[None] | None = None
        self._opening: asyncio.TimerHandle | None = None
        broker.on_time_moved(self._time_moved)

    @property
    def is_throttled(self) -> bool:
        """Whether a throttle is known and not over."""
        return self._opens_at > 0.0 and _now() < self._opens_at

    @property
    def is_closed(self) -> bool:
        """Whether nothing may start."""
        return not self._is_known or self.is_throttled

    def close(self, delay: timedelta, why: str) -> None:
        """Start nothing before `delay` is over, in this and all other workers of the group."""
        until = _now() + min(delay, LONGEST).total_seconds()
        if until <= self._opens_at:
            return
        if not self.is_throttled:
            log.warning(
                "group throttled for %g s: no worker starts a task of it before then%s",
                min(delay, LONGEST).total_seconds(), f": {why}" if why else "",
                extra={"queue": str(self._group.queue), "group": self._group.name},
            )  # fmt: skip
        self._open_at(until)
        self._said.append((until, why))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def run(self) -> None:
        """Follow the throttles of others until cancelled."""
        try:
            async with asyncio.timeout(_FIRST_READ_S):
                await self._follow((await self._broker.read_key(DONE_BUCKET, self._key, TIMEOUT_S)).value)
        except (ProtoQueueError, TimeoutError) as error:
            log.debug("could not read whether the group is throttled: %s", error)
        self._is_known = True
        self._changed()
        try:
            await Watch(self._broker, self._key, bytes, self._follow, DONE_BUCKET).run()
        finally:
            if self._writing is not None:
                await asyncio.wait([self._writing], timeout=_LAST_WRITE_S)
                await cancel(self._writing)

    async def _follow(self, value: bytes | None) -> None:
        """The stored throttle counts, unless this worker's own is later and not stored yet."""
        throttled = read_throttle(value)
        until = 0.0 if throttled is None else await self._local(throttled.until)
        if not self._said or until > self._opens_at:
            self._open_at(until)

    async def _local(self, moment: datetime) -> float:
        await self._clock.refresh()
        return _now() + (moment.timestamp() - self._clock.now_us() / 1e6)

    def _open_at(self, when: float) -> None:
        self._opens_at = when
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.get_running_loop().call_at(when, self._changed)
        self._changed()

    async def _write(self) -> None:
        """Store the latest throttle of this worker, unless another worker's is later."""
        while self._said:
            until, why = max(self._said)
            said = len(self._said)
            await retry_forever(lambda until=until, why=why: self._store(until, why), "that a group is throttled")  # type: ignore[misc]
            del self._said[:said]

    async def _store(self, until: float, why: str) -> None:
        await self._clock.refresh()
        moment = datetime.fromtimestamp(self._clock.now_us() / 1e6 + until - _now(), UTC)
        if moment.timestamp() * 1e6 > self._clock.now_us():
            await store_throttle(self._broker, self._group, moment, why, TIMEOUT_S)

    def _time_moved(self, ahead: timedelta) -> None:
        """A test has advanced the time: follow it."""
        self._clock.move(ahead // timedelta(microseconds=1))
        self._said = [(until - ahead.total_seconds(), why) for until, why in self._said]
        if self._opens_at:
            self._open_at(self._opens_at - ahead.total_seconds())

    @property
    def _key(self) -> str:
        return self._group.throttle_key


async def store_throttle(broker: Broker, group: GroupName, until: datetime, why: str, timeout_s: float) -> None:
    """Have the group start nothing before then, by the server's clock, unless it is closed for longer already.

    Raises Unavailable.
    """
    value = ThrottledUntil(until, why, host_name()).encode()
    while True:
        entry = await broker.read_key(DONE_BUCKET, group.throttle_key, timeout_s)
        stored = read_throttle(entry.value)
        if stored is not None and stored.until >= until:
            return
        with contextlib.suppress(WrongRevision):  # another was quicker
            await broker.write_key(DONE_BUCKET, group.throttle_key, value, entry.number, timeout_s)
            return


async def throttle_for(broker: Broker, group: GroupName, delay: timedelta, why: str, timeout_s: float) -> None:
    """`store_throttle` for so long from now on. Raises Unavailable."""
    now = await broker.server_time_us(timeout_s) / 1e6
    until = datetime.fromtimestamp(now + min(delay, LONGEST).total_seconds(), UTC)
    await store_throttle(broker, group, until, why, timeout_s)


async def throttled_s(broker: Broker, group: GroupName, timeout_s: float) -> float:
    """For how many seconds the group may start nothing, for callers that poll. Raises Unavailable."""
    throttled = read_throttle((await broker.read_key(DONE_BUCKET, group.throttle_key, timeout_s)).value)
    if throttled is None:
        return 0.0
    return throttled.until.timestamp() - await broker.server_time_us(timeout_s) / 1e6


def _now() -> float:
    """The event loop's monotonic clock."""
    return asyncio.get_running_loop().time()

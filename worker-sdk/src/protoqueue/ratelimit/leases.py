"""One bucket shared by all workers: its state lies in NATS and moves on by compare-and-set.

Each worker leases a small chunk, spends it, and leases again. What is leased may ripen up to `AHEAD_US` later, so workers
that find the bucket empty line up for the tokens to come, each with one chunk: they are served in turn, nobody polls, and
the bucket never overflows while somebody waits. Beyond that horizon they wait and ask again, the longest waiting first.

Where NATS does not answer, nothing is granted beyond what is already leased (at most one chunk per worker), and nothing is
saved up beyond the bucket's capacity meanwhile. A bucket that was wiped (it lies in memory) goes on from the latest state
any worker that still lives has seen; only when all are new, it starts full, as on the first day.
"""

import logging
import random
from collections.abc import Awaitable, Callable

from protoqueue.errors import Unavailable
from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.clock import ServerClock
from protoqueue.ratelimit.gcra import Limit, State
from protoqueue.ratelimit.pocket import Pocket
from protoqueue.ratelimit.store import StateMoved, Store

log = logging.getLogger(__name__)

CHUNK_US = 50_000
"""A lease holds what the limit yields in this time: 20 writes a second at full speed, whatever the rate."""

AHEAD_US = 1_000_000
"""How far ahead tokens are leased, and what is lost at worst when all workers die at once: what ripens in this time."""

BULK = 8
"""From a bucket that has saved up more, one lease may take this part of it (the others may be hungry too)."""

POLITENESS_S = 0.02
CONFLICT_S = 0.004
OUTAGE_S = 0.5

Nap = Callable[[float], Awaitable[None]]
"""Sleep for so many seconds, or less when the limits have changed."""


class SharedBucket:
    """One worker's access to a limit that it shares. Not for concurrent use: the limiter takes turns."""

    def __init__(self, key: str, limit: Limit, store: Store, clock: ServerClock) -> None:
        self.limit = limit
        self._key = key
        self._store = store
        self._clock = clock
        self._pocket: Pocket | None = None
        self._seen: State | None = None
        self._appetite = 1
        self._passed_over = 0
        self._is_out = False

    @property
    def chunk(self) -> int:
        return max(1, self.limit.tokens_in(CHUNK_US))

    def change(self, limit: Limit) -> None:
        """Obey another limit from now on; tokens leased under the old one are dropped."""
        self.limit = limit
        self._pocket = None
        self._appetite = 1

    def settle(self) -> None:
        """Forget tokens that have lain unused: to be called when someone begins to wait."""
        if self._pocket is not None:
            self._pocket.discard_stale(self._clock.now_us())

    def usable(self, wanted: int) -> int:
        """How many of the tokens wanted may be spent at once."""
        return 0 if self._pocket is None else min(wanted, self._pocket.usable(self._clock.now_us()))

    def spend(self, count: int) -> None:
        assert self._pocket is not None
        self._pocket.spend(count)

    def restore(self, count: int) -> None:
        if self._pocket is not None:
            self._pocket.restore(count)

    async def advance(self, wanted: int, nap: Nap) -> None:
        """One step towards a usable token: wait for a leased one to ripen, or try to lease. Raises nothing."""
        if self._pocket is not None and self._pocket.left:
            await nap(self._pocket.ripe_in_us(self._clock.now_us()) / 1e6)
            return
        try:
            wait_s = await self._lease(wanted)
            self._report_recovery()
        except StateMoved:
            self._passed_over += 1
            wait_s = random.random() * CONFLICT_S  # noqa: S311
        except Unavailable as error:
            self._report_outage(error)
            wait_s = (0.5 + random.random()) * OUTAGE_S  # noqa: S311
        if wait_s:
            await nap(wait_s)

    async def _lease(self, wanted: int) -> float:
        """Lease what is wanted now and, from past experience, soon; or return how many seconds to wait before the next try."""
        self._adjust_appetite()
        limit = self.limit
        ahead_us = max(AHEAD_US, limit.interval_us * 3 // 2)  # a slow limit still always has its next token taken
        await self._clock.refresh()
        state, revision = await self._read(limit, ahead_us)
        now_us = self._clock.now_us()
        most = max(self.chunk, min(wanted, gcra.available(state, now_us) // BULK))
        lease = gcra.lease(state, limit, min(most, max(wanted, self._appetite)), now_us, ahead_us)
        if not lease.granted:
            wait_s = lease.wait_us / 1e6 + self._politeness()
            self._passed_over += 1
            return wait_s
        await self._store.put_if(self._key, gcra.encode(lease.state), revision)
        self._seen = lease.state
        if limit == self.limit:
            self._pocket = Pocket(lease, now_us)
        self._passed_over = 0
        return 0

    async def _read(self, limit: Limit, ahead_us: int) -> tuple[State, int]:
        entry = await self._store.get(self._key)
        state, revision = self._decoded(entry.value if entry else None, limit), entry.revision if entry else 0
        now_us = self._clock.now_us()
        if gcra.from_the_future(state, now_us, ahead_us):
            # Either this worker's idea of the time is old or the server's clock went back: only the server can tell.
            await self._clock.refresh(max_age_us=0)
            now_us = self._clock.now_us()
            if gcra.from_the_future(state, now_us, ahead_us):
                log.warning(
                    "rate limit state is from the future: going on with an empty bucket", extra={"key": self._key}
                )
                state = gcra.empty(state.limit, now_us)
        return gcra.adapt(state, limit, now_us), revision

    def _decoded(self, value: bytes | None, limit: Limit) -> State:
        if value is None:
            return self._seen or gcra.full(limit, self._clock.now_us())
        try:
            return gcra.later(gcra.decode(value), self._seen)
        except ValueError as error:
            log.warning("%s: going on with an empty bucket", error, extra={"key": self._key})
            return gcra.empty(limit, self._clock.now_us())

    def _adjust_appetite(self) -> None:
        """Ask for twice as much where all was spent in time, else for what was: so an idle worker takes from nobody."""
        pocket, self._pocket = self._pocket, None
        if pocket is None:
            return
        if pocket.lapsed:
            self._appetite = max(1, pocket.granted - pocket.lapsed)
        else:
            self._appetite = min(self.chunk, 2 * pocket.granted)

    def _politeness(self) -> float:
        """Seconds by which to come late to the next free place: the less, the more often others were quicker."""
        return (1 + random.random()) / 2 * POLITENESS_S / (1 + self._passed_over)  # noqa: S311

    def _report_outage(self, error: Unavailable) -> None:
        if not self._is_out:
            log.warning("rate-limited tasks wait until NATS answers: %s", error, extra={"key": self._key})
        self._is_out = True

    def _report_recovery(self) -> None:
        if self._is_out:
            log.info("rate limit is shared again", extra={"key": self._key})
        self._is_out = False

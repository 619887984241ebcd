"""One bucket shared by all workers: its state lies in NATS and moves on by compare-and-set.

Each worker leases a small chunk, spends it, and leases again. What is leased may ripen a little later, so workers that
find the bucket empty line up for the tokens to come, each with one chunk: they are served in turn, and the bucket never
overflows while somebody waits. How far ahead one may lease grows with the time it has waited for a place in the line:
so the line stays short, and when there are more workers than places, those who have waited longest come first.

Where NATS does not answer, nothing is granted beyond what is already leased (at most one chunk per worker), and nothing
is saved up beyond the bucket's capacity meanwhile. A bucket that was wiped (it lies in memory) begins empty again where
a worker notices that has seen it before; only when all workers are new, it starts full, as on the first day.
"""

import logging
import random
from collections.abc import Awaitable, Callable

from protoqueue.errors import Unavailable
from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.clock import ServerClock, local_us
from protoqueue.ratelimit.gcra import Limit, State
from protoqueue.ratelimit.pocket import Pocket
from protoqueue.ratelimit.store import StateMoved, Store

log = logging.getLogger(__name__)

CHUNK_US = 50_000
"""A lease holds what the limit yields in this time: 20 writes a second at full speed, whatever the rate."""

LINE = 3
"""Length of the line, in leases, that one joins who has not waited yet."""

PATIENCE = 8
"""The line may be longer by one second for every so many that one has waited for a place in it..."""

LONGEST_LINE_US = 1_000_000
"""...but no longer than this, or two leases: that much is lost at worst when all workers die at once."""

EAGER_US = 10_000
"""Who wants more within this time of having spent a lease gets a larger one."""

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
        self._revision = 0
        self._appetite = 1
        self._emptied_us = 0
        self._passed_over = 0
        self._passed_over_since_us = 0
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
        """Forget tokens that have lain unused, and earlier waits: to be called when someone begins to wait."""
        self._passed_over = 0
        if self._pocket is not None:
            self._pocket.discard_stale(self._clock.now_us())

    def usable(self, wanted: int) -> int:
        """How many of the tokens wanted may be spent at once."""
        return 0 if self._pocket is None else min(wanted, self._pocket.usable(self._clock.now_us()))

    def spend(self, count: int) -> None:
        assert self._pocket is not None
        self._pocket.spend(count)
        if not self._pocket.left:
            self._emptied_us = self._clock.now_us()

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
            self._pass_over()
            wait_s = _spread(0, CONFLICT_S)
        except Unavailable as error:
            self._report_outage(error)
            wait_s = _spread(0.5, 1.5) * OUTAGE_S
        if wait_s:
            await nap(wait_s)

    async def _lease(self, wanted: int) -> float:
        """Lease what is wanted now and probably soon; else return how many seconds to wait before the next try."""
        await self._clock.refresh()
        self._adjust_appetite()
        limit = self.limit
        state, revision = await self._read(limit)
        now_us = self._clock.now_us()
        most = max(self.chunk, min(wanted, gcra.available(state, now_us) // BULK))
        want = min(most, max(wanted, self._appetite))
        line_us = self._line_us(limit)
        place = gcra.lease(state, limit, 1, now_us, line_us)
        if not place.granted:
            return place.wait_us / 1e6 + self._pass_over()
        lease = gcra.lease(state, limit, want, now_us, line_us + _lease_us(limit))
        self._revision = await self._store.put_if(self._key, gcra.encode(lease.state), revision)
        if limit == self.limit:
            self._pocket = Pocket(lease, now_us)
        self._passed_over = 0
        return 0

    async def _read(self, limit: Limit) -> tuple[State, int]:
        entry = await self._store.get(self._key)
        value, revision = entry or (b"", 0)
        now_us = self._clock.now_us()
        state = self._decoded(value, limit)
        if gcra.recovered(state, now_us, _farthest_us(state.limit)) != state:
            # Either this worker's idea of the time is old or the server's clock went back: only the server can tell.
            await self._clock.refresh(max_age_us=0)
            now_us = self._clock.now_us()
            state = gcra.recovered(state, now_us, _farthest_us(state.limit))
        if revision < self._revision:
            # What others had leased ahead is forgotten too: leave them the time to spend it. Written at once, lest it
            # is forgotten that there was a loss.
            lost = gcra.empty(limit, now_us + self._line_us(limit))
            state = max(gcra.adapt(state, limit, now_us), lost, key=lambda state: state.tat)
            revision = await self._store.put_if(self._key, gcra.encode(state), revision)
            log.warning("rate limit state was lost: going on with an empty bucket", extra={"key": self._key})
        self._revision = revision
        return gcra.adapt(state, limit, now_us), revision

    def _decoded(self, value: bytes, limit: Limit) -> State:
        if not value:  # absent, or a marker that it was deleted
            return gcra.full(limit, self._clock.now_us())
        try:
            return gcra.decode(value)
        except ValueError as error:
            log.warning("%s: going on with an empty bucket", error, extra={"key": self._key})
            return gcra.empty(limit, self._clock.now_us())

    def _adjust_appetite(self) -> None:
        """Ask for more where the next tokens are wanted at once, for less where some lapsed."""
        pocket, self._pocket = self._pocket, None
        if pocket is None:
            return
        if pocket.lapsed:
            self._appetite = max(1, pocket.granted - pocket.lapsed)
        elif self._clock.now_us() - self._emptied_us <= EAGER_US:
            self._appetite = min(self.chunk, 2 * pocket.granted)

    def _line_us(self, limit: Limit) -> int:
        longest_us = _longest_line_us(limit)
        at_first_us = min(LINE * _lease_us(limit), longest_us * 3 // 4)  # room is left for those who have waited
        waited_us = local_us() - self._passed_over_since_us if self._passed_over else 0
        return min(longest_us, at_first_us + waited_us // PATIENCE)

    def _pass_over(self) -> float:
        """Note that others were quicker. Returns the seconds to be late next time: fewer, the more often they were."""
        if not self._passed_over:
            self._passed_over_since_us = local_us()
        self._passed_over += 1
        return _spread(0.5, 1) * POLITENESS_S / self._passed_over

    def _report_outage(self, error: Unavailable) -> None:
        if not self._is_out:
            log.warning("rate-limited tasks wait until NATS answers: %s", error, extra={"key": self._key})
        self._is_out = True

    def _report_recovery(self) -> None:
        if self._is_out:
            log.info("rate limit is shared again", extra={"key": self._key})
        self._is_out = False


def _lease_us(limit: Limit) -> int:
    """For how long one lease serves at full speed."""
    return max(CHUNK_US, limit.interval_us)


def _longest_line_us(limit: Limit) -> int:
    return max(LONGEST_LINE_US, 2 * _lease_us(limit))


def _farthest_us(limit: Limit) -> int:
    """How far ahead the last token of a lease may ripen."""
    return _longest_line_us(limit) + _lease_us(limit)


def _spread(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 (keeps workers out of step, hides nothing)

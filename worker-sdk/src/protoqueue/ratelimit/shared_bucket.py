"""One bucket shared by all workers: its state lies in NATS and moves on by compare-and-set.

Each worker leases a small chunk, spends it, and leases again. What is leased may ripen a little later, so workers that
find the bucket empty lease the tokens to come, each one chunk: they are served in turn, and the bucket never overflows
while a worker waits. How far ahead a worker may lease grows with the time it has waited to lease: so little is leased
ahead, and when more workers want tokens than fit, those who have waited longest come first.

Where NATS does not answer, nothing is granted beyond what is already leased (at most one chunk per worker), and nothing
is saved up beyond the bucket's capacity meanwhile. A bucket that was wiped (it lies in memory) begins empty again where
a worker notices that has seen it before; only when all workers are new, it starts full, as on the first day.
"""

import logging
import random
from collections.abc import Awaitable, Callable

from protoqueue.broker import Broker, WrongRevision
from protoqueue.errors import ProtoQueueError
from protoqueue.protocol.buckets import RATE_BUCKET
from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.clock import ServerClock, local_us
from protoqueue.ratelimit.gcra import Limit, State
from protoqueue.ratelimit.leased_tokens import LeasedTokens

log = logging.getLogger(__name__)

CHUNK_US = 50_000
"""A lease holds what the limit yields in this time: 20 writes a second at full speed, whatever the rate."""

AHEAD_LEASES = 3
"""How far ahead a worker that has not waited yet may lease, in leases."""

WAITED_PER_AHEAD = 8
"""It may lease one second further ahead for every so many seconds that it has waited to lease..."""

MOST_AHEAD_US = 1_000_000
"""...but no further than this, or two leases: that much is lost at worst when all workers die at once."""

BUSY_US = 10_000
"""A worker that wants more within this time of having spent a lease gets a larger one."""

SAVED_SHARE = 8
"""From a bucket that has saved up more than a chunk, one lease may take one part in so many."""

BACKOFF_S = 0.02
CONFLICT_S = 0.004
OUTAGE_S = 0.5
TIMEOUT_S = 2.0
"""For one read or write of the shared state."""

Nap = Callable[[float], Awaitable[None]]
"""Sleep for so many seconds, or less when the limits have changed."""


class SharedBucket:
    """One worker's access to a limit that it shares. Not for concurrent use: the limiter takes turns."""

    def __init__(self, key: str, limit: Limit, broker: Broker, clock: ServerClock) -> None:
        self.limit = limit
        self._key = key
        self._broker = broker
        self._clock = clock
        self._leased: LeasedTokens | None = None
        self._revision = 0
        self._request_size = 1
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
        self._leased = None
        self._request_size = 1

    def settle(self) -> None:
        """Forget tokens that have lain unused, and earlier waits: to be called when someone begins to wait."""
        self._passed_over = 0
        if self._leased is not None:
            self._leased.discard_stale(self._clock.now_us())

    def usable(self, wanted: int) -> int:
        """How many of the tokens wanted may be spent at once."""
        return 0 if self._leased is None else min(wanted, self._leased.usable(self._clock.now_us()))

    def spend(self, count: int) -> None:
        assert self._leased is not None
        self._leased.spend(count)
        if not self._leased.left:
            self._emptied_us = self._clock.now_us()

    def time_moved(self, ahead_us: int) -> None:
        """All time here is the server's."""

    async def advance(self, wanted: int, nap: Nap) -> None:
        """One step towards a usable token: wait for a leased one to ripen, or try to lease. Raises nothing."""
        if self._leased is not None and self._leased.left:
            await nap(self._leased.ripe_in_us(self._clock.now_us()) / 1e6)
            return
        try:
            wait_s = await self._lease(wanted)
            self._report_recovery()
        except WrongRevision:
            self._pass_over()
            wait_s = _spread(0, CONFLICT_S)
        except ProtoQueueError as error:  # a bucket that is full or refuses writes is an outage too
            self._report_outage(error)
            wait_s = _spread(0.5, 1.5) * OUTAGE_S
        if wait_s:
            await nap(wait_s)

    async def _lease(self, wanted: int) -> float:
        """Lease what is wanted now and probably soon; else return how many seconds to wait before the next try."""
        await self._clock.refresh()
        self._adjust_request_size()
        limit = self.limit
        state, revision = await self._read(limit)
        now_us = self._clock.now_us()
        most = max(self.chunk, min(wanted, gcra.available(state, now_us) // SAVED_SHARE))
        want = min(most, max(wanted, self._request_size))
        ahead_us = self._ahead_us(limit)
        place = gcra.lease(state, limit, 1, now_us, ahead_us)
        if not place.granted:
            return place.wait_us / 1e6 + self._pass_over()
        lease = gcra.lease(state, limit, want, now_us, ahead_us + _lease_us(limit))
        self._revision = await self._write(lease.state, revision)
        if limit == self.limit:
            self._leased = LeasedTokens(lease, now_us)
        self._passed_over = 0
        return 0

    async def _read(self, limit: Limit) -> tuple[State, int]:
        stored = await self._broker.read_key(RATE_BUCKET, self._key, TIMEOUT_S)
        revision = stored.number  # a deleted key keeps one, and only who knows it may write next
        now_us = self._clock.now_us()
        state = self._decoded(stored.value, limit)
        if gcra.recovered(state, now_us, _farthest_us(state.limit)) != state:
            # Either this worker's idea of the time is old or the server's clock went back: only the server can tell.
            await self._clock.refresh(max_age_us=0)
            now_us = self._clock.now_us()
            state = gcra.recovered(state, now_us, _farthest_us(state.limit))
        if revision < self._revision:
            # What others had leased ahead is forgotten too: leave them the time to spend it. Written at once, lest it
            # is forgotten that there was a loss.
            lost = gcra.empty(limit, now_us + self._ahead_us(limit))
            state = max(gcra.adapt(state, limit, now_us), lost, key=lambda state: state.tat)
            revision = await self._write(state, revision)
            log.warning("the rate limit's state was lost: continuing with an empty bucket", extra={"key": self._key})
        self._revision = revision
        return gcra.adapt(state, limit, now_us), revision

    async def _write(self, state: State, revision: int) -> int:
        return await self._broker.write_key(RATE_BUCKET, self._key, gcra.encode(state), revision, TIMEOUT_S)

    def _decoded(self, value: bytes | None, limit: Limit) -> State:
        if not value:  # absent or deleted
            return gcra.full(limit, self._clock.now_us())
        try:
            return gcra.decode(value)
        except ValueError as error:
            log.warning("%s: continuing with an empty bucket", error, extra={"key": self._key})
            return gcra.empty(limit, self._clock.now_us())

    def _adjust_request_size(self) -> None:
        """Ask for more where the next tokens are wanted at once, for less where some lapsed."""
        leased, self._leased = self._leased, None
        if leased is None:
            return
        if leased.lapsed:
            self._request_size = max(1, leased.granted - leased.lapsed)
        elif self._clock.now_us() - self._emptied_us <= BUSY_US:
            self._request_size = min(self.chunk, 2 * leased.granted)

    def _ahead_us(self, limit: Limit) -> int:
        most_us = _most_ahead_us(limit)
        at_first_us = min(AHEAD_LEASES * _lease_us(limit), most_us * 3 // 4)  # room is left for those who have waited
        waited_us = local_us() - self._passed_over_since_us if self._passed_over else 0
        return min(most_us, at_first_us + waited_us // WAITED_PER_AHEAD)

    def _pass_over(self) -> float:
        """Note that others were quicker. Returns the seconds to be late next time: fewer, the more often they were."""
        if not self._passed_over:
            self._passed_over_since_us = local_us()
        self._passed_over += 1
        return _spread(0.5, 1) * BACKOFF_S / self._passed_over

    def _report_outage(self, error: ProtoQueueError) -> None:
        if not self._is_out:
            log.warning(
                "the rate limit cannot be read or written, rate-limited tasks wait: %s", error, extra={"key": self._key}
            )
        self._is_out = True

    def _report_recovery(self) -> None:
        if self._is_out:
            log.info("the rate limit can be read and written again", extra={"key": self._key})
        self._is_out = False


def _lease_us(limit: Limit) -> int:
    """For how long one lease serves at full speed."""
    return max(CHUNK_US, limit.interval_us)


def _most_ahead_us(limit: Limit) -> int:
    return max(MOST_AHEAD_US, 2 * _lease_us(limit))


def _farthest_us(limit: Limit) -> int:
    """How far ahead the last token of a lease may ripen."""
    return _most_ahead_us(limit) + _lease_us(limit)


def _spread(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 (keeps workers out of step, hides nothing)

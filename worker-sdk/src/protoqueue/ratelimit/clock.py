"""One time base for all workers: the NATS server's, estimated from the local monotonic clock.

Workers' wall clocks may differ by seconds, and steps of them would mint or destroy tokens: they are not read at all.
A request that left at local time `sent` and was answered at `received` with the server's time says that the offset
lies between `server - received` and `server - sent`. Between requests the bounds widen by what two clocks may drift.

Residual error: half a round trip (the best of the recent ones) plus 2 ms. A worker that is ahead by e sees tokens e
early, so a window may hold `rate * e` more than the limit; since all workers move one shared state on, nothing adds
up. The limit's slack covers it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

DRIFT_PPM = 200
MAX_AGE_US = 10_000_000
GOOD_ENOUGH_US = 5_000
SAMPLES = 3


@dataclass(frozen=True)
class Offset:
    """Server time minus local time lies within these bounds at local time `at_us`."""

    low_us: int
    high_us: int
    at_us: int

    @classmethod
    def measured(cls, sent_us: int, server_us: int, received_us: int) -> "Offset":
        """Ages from `sent_us` on, since the clocks drift on the way too."""
        return cls(server_us - received_us, server_us - sent_us, sent_us)

    @property
    def middle_us(self) -> int:
        return (self.low_us + self.high_us) // 2

    @property
    def width_us(self) -> int:
        return self.high_us - self.low_us

    def aged(self, at_us: int) -> "Offset":
        drift = max(0, at_us - self.at_us) * DRIFT_PPM // 1_000_000
        return Offset(self.low_us - drift, self.high_us + drift, at_us)

    def narrowed(self, newer: "Offset") -> "Offset":
        """What both measurements allow; where they contradict, one of the clocks was set and the newer one holds."""
        aged = self.aged(newer.at_us)
        low, high = max(aged.low_us, newer.low_us), min(aged.high_us, newer.high_us)
        return Offset(low, high, newer.at_us) if low <= high else newer


class ServerClock:
    """`read` asks the server for its time in microseconds; it may raise, and `refresh` passes that on."""

    def __init__(self, read: Callable[[], Awaitable[int]]) -> None:
        self._read = read
        self._offset: Offset | None = None

    def now_us(self) -> int:
        """Server time; only after a first `refresh`."""
        assert self._offset is not None
        return local_us() + self._offset.middle_us

    def move(self, ahead_us: int) -> None:
        """The server's time has been moved ahead."""
        if self._offset is not None:
            offset = self._offset
            self._offset = Offset(offset.low_us + ahead_us, offset.high_us + ahead_us, offset.at_us)

    async def refresh(self, max_age_us: int = MAX_AGE_US) -> None:
        """Measure anew unless the last time is recent enough; again, up to three times, while round trips are slow."""
        if self._offset is not None and local_us() - self._offset.at_us < max_age_us:
            return
        for _ in range(SAMPLES):
            sent_us = local_us()
            server_us = await self._read()
            sample = Offset.measured(sent_us, server_us, local_us())
            self._offset = sample if self._offset is None else self._offset.narrowed(sample)
            if sample.width_us <= GOOD_ENOUGH_US:
                return


def local_us() -> int:
    """The event loop's monotonic clock."""
    return int(asyncio.get_running_loop().time() * 1_000_000)

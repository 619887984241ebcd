from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.clock import local_us
from protoqueue.ratelimit.gcra import Limit, State
from protoqueue.ratelimit.shared_bucket import CHUNK_US, Nap


class LocalBucket:
    """A limit that one worker process has for itself: the same algorithm, with nobody to agree with."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._state: State = gcra.full(limit, local_us())

    @property
    def chunk(self) -> int:
        return max(1, self.limit.tokens_in(CHUNK_US))

    def change(self, limit: Limit) -> None:
        self._state = gcra.adapt(self._state, limit, local_us())
        self.limit = limit

    def settle(self) -> None:
        """Nothing is leased, so nothing lapses."""

    def usable(self, wanted: int) -> int:
        return gcra.lease(self._state, self.limit, wanted, local_us()).granted

    def spend(self, count: int) -> None:
        self._state = gcra.lease(self._state, self.limit, count, local_us()).state

    def time_moved(self, ahead_us: int) -> None:
        # The clock this goes by is the event loop's, which nobody moves.
        self._state = State(self.limit, self._state.tat - ahead_us * self.limit.tasks)

    async def advance(self, wanted: int, nap: Nap) -> None:  # noqa: ARG002 (all buckets are asked alike)
        """Wait until a token is there."""
        await nap(gcra.lease(self._state, self.limit, 1, local_us()).wait_us / 1e6)

"""State shared by a queue's Redrives: one at a time moves letters, once interrupted batches are settled."""

import asyncio

from protoqueue_operator.api.v1alpha1.meta import Key


class Turn:
    """The state of one queue. Only the holder of `lock` may move its letters."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.moves = 0
        """Incremented with each batch: letters that were read before another Redrive's batch may be gone."""
        self.is_settled = False
        """Whether the letters of every stored checkpoint are known to be deleted."""


class Turns:
    """By queue; all of it can be lost without harm."""

    def __init__(self) -> None:
        self._turns: dict[Key, Turn] = {}

    def of(self, queue: Key) -> Turn:
        return self._turns.setdefault(queue, Turn())

    def doubt(self, queue: Key) -> None:
        """A batch was started, and it is unknown whether it was stored."""
        self.of(queue).is_settled = False

    def forget_others(self, queues: set[Key]) -> None:
        for key in self._turns.keys() - queues:
            if not self._turns[key].lock.locked():
                del self._turns[key]

"""What the Redrives of one queue have in common: one at a time moves letters, once what was begun is settled."""

import asyncio

from protoqueue_operator.api.v1alpha1.meta import Key


class Turn:
    """Of one queue. Whoever holds `lock` may move its letters, and nobody else does."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.moves = 0
        """Counts up with each batch: letters that were read before another moved some may be gone."""
        self.is_settled = False
        """Whether the letters of every stored checkpoint are known to be gone."""


class Turns:
    """By queue; all of it can be lost without harm."""

    def __init__(self) -> None:
        self._turns: dict[Key, Turn] = {}

    def of(self, queue: Key) -> Turn:
        return self._turns.setdefault(queue, Turn())

    def doubt(self, queue: Key) -> None:
        """Something was begun there, and nobody knows whether it was done."""
        self.of(queue).is_settled = False

    def forget_others(self, queues: set[Key]) -> None:
        for key in self._turns.keys() - queues:
            if not self._turns[key].lock.locked():
                del self._turns[key]

"""State kept for queues between two reconciles; all of it can be lost without harm."""

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.jetstream.assets import Stream
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.queue.reclaim import Takeover, is_taken_over_now


class QueueStates:
    def __init__(self) -> None:
        self.streams: dict[Key, tuple[Stream, ...]] = {}
        """The desired streams of each applied queue."""
        self.layouts: dict[Key, Layout] = {}
        """Which of them hold its tasks."""
        self.takeovers: dict[Key, Takeover] = {}
        """Of each queue whose streams another cluster has taken over."""
        self.refused: set[Key] = set()

    def is_taken_over(self, queue: Key) -> bool:
        return is_taken_over_now(self.takeovers.get(queue))

    def moved(self, queue: Key) -> None:
        """Forget its streams: they were at its old home, whoever owns them now."""
        self.streams.pop(queue, None)
        self.layouts.pop(queue, None)
        self.takeovers.pop(queue, None)

    def forget(self, queue: Key) -> None:
        self.moved(queue)
        self.refused.discard(queue)

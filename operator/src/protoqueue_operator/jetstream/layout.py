"""Which streams hold the tasks of a queue.

One stream holds all of them, new, due and not yet due, unless the queue has limits: JetStream allows no schedules in a
stream that refuses new messages, and its `max_age` would delete tasks that are not yet due. New tasks then have a
stream of their own, with the limits. A stream that must accept no more tasks is closed: its schedules still fire,
groups still consume it, and it is deleted once empty. So the operator never moves tasks between streams.

An ordered queue has its tasks in one stream, which sources due tasks from another: they join the end of their
partition.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import Stream


@dataclass(frozen=True)
class Layout:
    stream: str
    """Where new tasks are stored."""
    later: str
    """Where scheduled tasks are stored: may be the same."""
    draining: tuple[str, ...] = ()
    """Streams that accept no more tasks and may still hold some."""
    sourced: bool = False
    """Whether `stream` sources due tasks from `later`."""

    @property
    def consumed(self) -> tuple[str, ...]:
        """The streams on which groups have consumers, that of new tasks first."""
        return (self.stream,) if self.sourced else self.holding

    @property
    def holding(self) -> tuple[str, ...]:
        """The streams that hold tasks, due or not."""
        return tuple(dict.fromkeys((self.stream, self.later, *self.draining)))


def is_limited(spec: QueueSpec) -> bool:
    """Whether new tasks need a stream of their own."""
    limits = spec.limits
    return not spec.ordering and any((limits.max_age, limits.max_tasks, limits.max_bytes))


def initial_layout(name: QueueName, spec: QueueSpec) -> Layout:
    """The layout of a new queue."""
    if spec.ordering:
        return Layout(name.stream, name.later_stream, sourced=True)
    return Layout(name.new_stream if is_limited(spec) else name.stream, name.stream)


def layout_of(name: QueueName, streams: Mapping[str, Stream]) -> Layout | None:
    """The layout of existing streams; None if the queue's own is not among them."""
    if (own := streams.get(name.stream)) is None:
        return None
    if own.source:
        return Layout(name.stream, name.later_stream, sourced=True)
    new = streams.get(name.new_stream)
    stream = name.new_stream if new and not is_closed(name, new) else name.stream
    draining = tuple(
        each for each in (name.new_stream, name.later_stream) if each in streams and each not in (stream, name.stream)
    )
    return Layout(stream, name.stream, draining)


def is_closed(name: QueueName, stream: Stream) -> bool:
    """Whether nothing can be stored in it."""
    return all(subject.startswith(f"{name.closed}.") for subject in stream.subjects)

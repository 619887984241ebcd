"""In which streams the tasks of a queue lie.

One stream holds all of them, new, due and not yet due, unless the queue has limits: JetStream takes no schedules in a
stream that refuses new messages, and its `max_age` would delete what is not yet due. New tasks then have a stream of
their own, with the limits. A stream that is to take no more tasks is closed: it goes on firing what is scheduled in it,
groups go on consuming it, and it is deleted when it is empty. So nothing is ever moved from stream to stream.

An ordered queue has its tasks in one stream, which sources from another what comes due: it joins its partition's end.
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
    """Where tasks for later are stored: may be the same."""
    draining: tuple[str, ...] = ()
    """What takes no more tasks and may still hold some."""
    sourced: bool = False
    """Whether `stream` sources from `later` what comes due."""

    @property
    def consumed(self) -> tuple[str, ...]:
        """The streams that groups have consumers on, that of new tasks first."""
        return (self.stream,) if self.sourced else self.holding

    @property
    def holding(self) -> tuple[str, ...]:
        """The streams that hold tasks, whether they are due or not."""
        return tuple(dict.fromkeys((self.stream, self.later, *self.draining)))


def is_limited(spec: QueueSpec) -> bool:
    """Whether new tasks need a stream of their own."""
    limits = spec.limits
    return not spec.ordering and any((limits.max_age, limits.max_tasks, limits.max_bytes))


def initial_layout(name: QueueName, spec: QueueSpec) -> Layout:
    """That of a queue of which nothing was there before."""
    if spec.ordering:
        return Layout(name.stream, name.later_stream, sourced=True)
    return Layout(name.new_stream if is_limited(spec) else name.stream, name.stream)


def layout_of(name: QueueName, streams: Mapping[str, Stream]) -> Layout | None:
    """What the streams that are there amount to; None where the queue's own is not among them."""
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
    """Whether nobody can store anything in it."""
    return all(subject.startswith(f"{name.closed}.") for subject in stream.subjects)

"""Which streams and consumers a Queue and its groups are made of."""

from dataclasses import replace
from datetime import timedelta

from protoqueue.naming import SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.core.assets import UNLIMITED, Consumer, Owner, Source, Stream
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.resources import Group, Queue

_LARGEST_SIZE = 2**31 - 1

_LATER_ROOM, _TASKS_ROOM = 2048, 4096
"""Bytes that streams take beyond `limits.maxTaskSize`, to which clients keep. A retry has more headers than the task it
repeats, and what comes due more than what waited: the server stops at the first message that the target does not take.
"""


def queue_streams(queue: Queue, spec: QueueSpec) -> tuple[Stream, ...]:
    """The streams of a queue, in the order they are to be made: what is sourced before what sources it."""
    return tuple(stream for stream in (_later(queue, spec), _dead_letters(queue, spec), _tasks(queue, spec)) if stream)


def queue_stream_names(name: QueueName) -> tuple[str, str, str]:
    """Every stream a queue can have, whatever its specification says today."""
    return (name.later_stream, name.dead_letter_stream, name.stream)


def scheduled_counter(queue: Queue) -> Consumer:
    """The durable that is never pulled: its `num_pending` is the number of tasks not yet due."""
    return Consumer(
        stream=queue.name.later_stream,
        name=SCHEDULED_CONSUMER,
        owner=Owner.of(queue.meta),
        filter_subjects=(queue.name.all_scheduled,),
        ack_wait=timedelta(seconds=30),
        max_ack_pending=1000,
    )


def group_consumers(group: Group, spec: ConsumerGroupSpec, queue: QueueSpec) -> tuple[Consumer, ...]:
    """One durable per priority level, or per partition where the queue is ordered."""
    name = group.name
    base = Consumer(
        stream=name.queue.stream,
        name="",
        owner=Owner.of(group.meta),
        filter_subjects=(),
        ack_wait=spec.visibility_timeout or queue.visibility_timeout,
        max_ack_pending=spec.max_in_flight,
        paused=spec.paused or queue.paused,
        deliver_policy="new" if queue.delivery == "Broadcast" and spec.start_from == "New" else "all",
    )
    retrying = name.name if queue.delivery == "Broadcast" else "*"
    if queue.ordering:
        return tuple(
            replace(
                base,
                name=name.partition_consumer(partition),
                filter_subjects=(name.queue.ordered(partition), name.queue.retry(retrying, partition)),
                max_ack_pending=1,
            )
            for partition in range(queue.ordering.partitions)
        )
    return tuple(
        replace(
            base,
            name=name.level_consumer(level),
            filter_subjects=(name.queue.task(level), name.queue.retry(retrying, level)),
        )
        for level in range(queue.effective_priority_levels)
    )


def _later(queue: Queue, spec: QueueSpec) -> Stream:
    """Without limits but that of size: a full queue only makes due tasks wait here.

    JetStream refuses schedules together with `discard new`, and `limits.maxAge` counts from when a task is due.
    """
    return Stream(
        name=queue.name.later_stream,
        owner=Owner.of(queue.meta),
        subjects=queue.name.later_subjects,
        retention="workqueue",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_msg_size=_with_room(spec, _LATER_ROOM),
        duplicate_window=spec.deduplication_window,
        allow_msg_ttl=True,
        allow_msg_schedules=True,
        allow_atomic=True,
    )


def _tasks(queue: Queue, spec: QueueSpec) -> Stream:
    limits = spec.limits
    max_age = limits.max_age or timedelta(0)
    return Stream(
        name=queue.name.stream,
        owner=Owner.of(queue.meta),
        subjects=queue.name.stream_subjects,
        retention="interest" if spec.delivery == "Broadcast" else "workqueue",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_age=max_age,
        max_msgs=limits.max_tasks or UNLIMITED,
        max_bytes=limits.max_bytes or UNLIMITED,
        max_msg_size=_with_room(spec, _TASKS_ROOM),
        discard="new" if limits.on_full == "Reject" else "old",
        duplicate_window=task_window(spec),
        allow_msg_ttl=True,
        allow_atomic=True,
        source=Source(queue.name.later_stream, queue.name.due_transform),
    )


def _dead_letters(queue: Queue, spec: QueueSpec) -> Stream | None:
    """None where dead letters are off: what was kept earlier then stays as it is, readable."""
    if not spec.dead_letter.enabled:
        return None
    return Stream(
        name=queue.name.dead_letter_stream,
        owner=Owner.of(queue.meta),
        subjects=queue.name.dead_letter_subjects,
        retention="limits",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_age=spec.dead_letter.max_age,
        max_msgs=spec.dead_letter.max_tasks,
        duplicate_window=_window(spec.deduplication_window, spec.dead_letter.max_age),
    )


def _with_room(spec: QueueSpec, room: int) -> int:
    return min(spec.limits.max_task_size + room, _LARGEST_SIZE) if spec.limits.max_task_size else UNLIMITED


def task_window(spec: QueueSpec) -> timedelta:
    """How long the stream of a queue's tasks remembers message ids."""
    return _window(spec.deduplication_window, spec.limits.max_age or timedelta(0))


def _window(window: timedelta, max_age: timedelta) -> timedelta:
    """JetStream refuses to remember ids for longer than it keeps messages."""
    return min(window, max_age) if max_age else window

"""The streams and consumers of a Queue and its groups."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from protoqueue.protocol.consumer_names import KEPT_CONSUMER, SCHEDULED_CONSUMER
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.subjects import Slot, level_slots
from protoqueue_operator.api.v1alpha1.effective_spec import EffectiveSpec
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import UNLIMITED, Consumer, Owner, Source, Stream
from protoqueue_operator.jetstream.layout import Layout, is_limited

_LARGEST_SIZE = 2**31 - 1

_LATER_ROOM, _TASKS_ROOM = 2048, 4096
"""Bytes that streams accept beyond `limits.maxTaskSize`, which clients enforce.

A retry has more headers than its task, and a task that has come due more than a scheduled one: the server stops at the
first message that the target does not accept.
"""


def queue_streams(
    queue: Queue, spec: QueueSpec, there: Mapping[str, Stream] | None = None, *, sourced: bool = False
) -> tuple[Stream, ...]:
    """The streams of a queue, in the order of creation or change: a subject is released before it is claimed.

    Streams that are `there` but not needed are closed. `sourced`: whether the queue's stream sources due tasks from
    LATER, as in ordered queues, and in Broadcast queues of earlier versions until LATER is empty.
    """
    streams: tuple[Stream | None, ...]
    if sourced or spec.ordering:
        streams = (_later(queue, spec), _dead_letters(queue, spec), _history(queue, spec), _sourcing(queue, spec))
    else:
        leftovers = (queue.name.later_stream,) if is_limited(spec) else (queue.name.later_stream, queue.name.new_stream)
        closed = (_closed(queue, spec, (there or {}).get(name)) for name in leftovers)
        new = _new_tasks(queue, spec) if is_limited(spec) else None
        streams = (*closed, _dead_letters(queue, spec), _history(queue, spec), _tasks(queue, spec), new)
    return tuple(stream for stream in streams if stream)


def queue_stream_names(name: QueueName) -> tuple[str, ...]:
    """Every stream a queue can have under any specification."""
    return (name.later_stream, name.dead_letter_stream, name.history_stream, name.stream, name.new_stream)


def standing_consumers(queue: Queue, spec: QueueSpec, layout: Layout) -> tuple[Consumer, ...]:
    """The durables that are never pulled.

    `num_pending` of the first is the number of tasks not yet due. The others make a stream with interest retention keep
    scheduled tasks and the progress of Redrives; scheduled tasks are still kept if one of them is deleted.
    """
    counter = Consumer(
        stream=layout.later,
        name=SCHEDULED_CONSUMER,
        owner=Owner.of(queue.meta),
        filter_subjects=(queue.name.all_scheduled,),
        ack_wait=timedelta(seconds=30),
        max_ack_pending=1000,
    )
    if spec.delivery != "Broadcast":
        return (counter,)
    checkpoints = (queue.name.all_checkpoints,)
    keeper = replace(counter, stream=layout.stream, name=KEPT_CONSUMER, filter_subjects=checkpoints)
    if layout.sourced:
        return (counter, keeper)
    kept = (queue.name.all_scheduled, queue.name.all_recurring)
    if layout.stream == layout.later:
        return (counter, replace(keeper, filter_subjects=(*kept, *checkpoints)))
    return (counter, replace(keeper, stream=layout.later, filter_subjects=kept), keeper)


def group_consumers(group: Group, spec: EffectiveSpec, queue: QueueSpec, layout: Layout) -> tuple[Consumer, ...]:
    """One durable per stream, priority level and lane, or per partition in an ordered queue; lowest first."""
    if queue.ordering:
        return tuple(
            replace(
                _base(group, spec, queue, layout.stream),
                name=group.name.partition_consumer(partition),
                filter_subjects=(group.name.queue.ordered(partition), group.name.queue.retry("*", partition)),
                max_ack_pending=1,
            )
            for partition in range(queue.ordering.partitions)
        )
    return tuple(
        consumer for stream in layout.consumed for consumer in _level_consumers(group, spec, queue, stream, layout)
    )


def _level_consumers(
    group: Group, spec: EffectiveSpec, queue: QueueSpec, stream: str, layout: Layout
) -> tuple[Consumer, ...]:
    """The consumers of one stream.

    JetStream counts tasks in flight per consumer, so `maxInFlight` is enforced by taking tasks from one stream only,
    and moving those of others there.
    """
    name = group.name
    moved = stream != layout.stream and spec.states_max_in_flight
    base = replace(_base(group, spec, queue, stream), moved=moved)
    if moved:
        base = replace(base, max_ack_pending=_MOST_MOVED)
    retrying = name.name if queue.delivery == "Broadcast" else "*"
    takes_unique = not layout.sourced and queue.delivery != "Broadcast"
    apart = takes_unique and moved and stream == layout.later  # a moved task would lose its unique key
    consumers, held = [], []
    for slot in _slots(queue):
        new = (name.queue.task(slot), name.queue.retry(retrying, slot))
        filters = new if layout.sourced else (*new, *map(name.queue.due, new))
        unique = (name.queue.unique_waiting("*", slot),)
        if apart:
            worked = _base(group, spec, queue, stream)
            held.append(replace(worked, name=name.unique_consumer(slot), filter_subjects=unique))
        elif takes_unique:
            filters = (*filters, *unique)
        consumers.append(replace(base, name=name.level_consumer(slot), filter_subjects=filters))
    return (*consumers, *held)


def _slots(spec: QueueSpec) -> tuple[Slot, ...]:
    levels = range(spec.effective_priority_levels)
    return tuple(slot for level in levels for slot in level_slots(level, spec.lanes))


_MOST_MOVED = 1000
"""How many tasks are moved between streams at the same time."""


def _base(group: Group, spec: EffectiveSpec, queue: QueueSpec, stream: str) -> Consumer:
    return Consumer(
        stream=stream,
        name="",
        owner=Owner.of(group.meta),
        filter_subjects=(),
        ack_wait=spec.visibility_timeout,
        max_ack_pending=spec.max_in_flight,
        paused=spec.paused,
        deliver_policy="new" if queue.delivery == "Broadcast" and spec.start_from == "New" else "all",
    )


def _tasks(queue: Queue, spec: QueueSpec) -> Stream:
    """Due and scheduled tasks, and new ones unless the queue has limits. Has no limit but that of size."""
    subjects = queue.name.later_subjects(*_shape(spec))
    if spec.delivery != "Broadcast":
        subjects = (*subjects, *queue.name.unique_subjects(spec.effective_priority_levels, spec.lanes))
    if not is_limited(spec):
        subjects = (*_new_subjects(queue, spec), *subjects)
    stream = _stream(queue, spec, queue.name.stream, subjects, _TASKS_ROOM)
    return replace(stream, allow_msg_schedules=True, shape=stated_shape(spec))


def _new_tasks(queue: Queue, spec: QueueSpec) -> Stream:
    """New tasks of a queue with limits."""
    stream = _stream(queue, spec, queue.name.new_stream, _new_subjects(queue, spec), _TASKS_ROOM)
    return _with_limits(stream, spec)


def _new_subjects(queue: Queue, spec: QueueSpec) -> tuple[str, ...]:
    """Subjects stored with new tasks: redriven tasks too, and with them the progress of Redrives."""
    return (*queue.name.stream_subjects(*_shape(spec)), queue.name.all_checkpoints)


def _stream(queue: Queue, spec: QueueSpec, name: str, subjects: tuple[str, ...], room: int) -> Stream:
    """Settings common to all streams of a queue's tasks."""
    return Stream(
        name=name,
        owner=Owner.of(queue.meta),
        namespace_uid=queue.namespace_uid,
        subjects=subjects,
        retention="interest" if spec.delivery == "Broadcast" else "workqueue",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_msg_size=_with_room(spec, room),
        duplicate_window=spec.deduplication_window,
        allow_msg_ttl=True,
        allow_atomic=True,
    )


def _closed(queue: Queue, spec: QueueSpec, there: Stream | None) -> Stream | None:
    """The stream, closed: it accepts nothing more and loses nothing, as its limits are removed."""
    if there is None:
        return None
    return replace(
        there,
        owner=Owner.of(queue.meta),
        namespace_uid=queue.namespace_uid,
        subjects=(f"{queue.name.closed}.{there.name.rpartition('_')[2].lower()}",),
        replicas=spec.replicas,
        max_age=timedelta(0),
        max_msgs=UNLIMITED,
        max_bytes=UNLIMITED,
        source=None,
        shape="",
    )


def _later(queue: Queue, spec: QueueSpec) -> Stream:
    """Scheduled tasks of an ordered queue. No limit but that of size: if the queue is full, due tasks wait here."""
    subjects = queue.name.later_subjects(*_shape(spec))
    stream = _stream(queue, spec, queue.name.later_stream, subjects, _LATER_ROOM)
    return replace(stream, retention="workqueue", allow_msg_schedules=True)


def _sourcing(queue: Queue, spec: QueueSpec) -> Stream:
    """The tasks of an ordered queue: due tasks join the end of their partition."""
    stream = _with_limits(_stream(queue, spec, queue.name.stream, _new_subjects(queue, spec), _TASKS_ROOM), spec)
    return replace(stream, source=Source(queue.name.later_stream, queue.name.due_transform), shape=stated_shape(spec))


def _with_limits(stream: Stream, spec: QueueSpec) -> Stream:
    limits = spec.limits
    return replace(
        stream,
        max_age=limits.max_age or timedelta(0),
        max_msgs=limits.max_tasks or UNLIMITED,
        max_bytes=limits.max_bytes or UNLIMITED,
        discard="new" if limits.on_full == "Reject" else "old",
        duplicate_window=task_window(spec),
    )


def _dead_letters(queue: Queue, spec: QueueSpec) -> Stream | None:
    """None if dead letters are off: earlier ones then stay as they are, readable."""
    if not spec.dead_letter.enabled:
        return None
    return Stream(
        name=queue.name.dead_letter_stream,
        owner=Owner.of(queue.meta),
        namespace_uid=queue.namespace_uid,
        subjects=queue.name.dead_letter_subjects,
        retention="limits",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_age=spec.dead_letter.max_age,
        max_msgs=spec.dead_letter.max_tasks,
        duplicate_window=_window(spec.deduplication_window, spec.dead_letter.max_age),
    )


def _history(queue: Queue, spec: QueueSpec) -> Stream | None:
    if spec.history is None:
        return None
    return Stream(
        name=queue.name.history_stream,
        owner=Owner.of(queue.meta),
        namespace_uid=queue.namespace_uid,
        subjects=(queue.name.all_records,),
        retention="limits",
        storage=spec.storage.lower(),
        replicas=spec.replicas,
        max_age=spec.history.max_age,
        max_msgs=spec.history.max_tasks,
        max_bytes=spec.history.max_bytes,
        duplicate_window=_window(_NO_IDS, spec.history.max_age),
        allow_direct=True,
    )


_NO_IDS = timedelta(milliseconds=100)
"""The least that JetStream accepts: records have no message ids."""


def _shape(spec: QueueSpec) -> tuple[int, int, int]:
    """Levels and partitions, of which one is 0, and lanes."""
    return (0, spec.ordering.partitions, 0) if spec.ordering else (spec.effective_priority_levels, 0, spec.lanes)


def stated_shape(spec: QueueSpec) -> str:
    """The shape for which tasks are stored and consumers created."""
    if spec.ordering:
        return f"partitions={spec.ordering.partitions}"
    levels = f"levels={spec.effective_priority_levels}"
    return f"{levels},lanes={spec.lanes}" if spec.lanes else levels


def _with_room(spec: QueueSpec, room: int) -> int:
    return min(spec.limits.max_task_size + room, _LARGEST_SIZE) if spec.limits.max_task_size else UNLIMITED


def task_window(spec: QueueSpec) -> timedelta:
    """How long the stream of a queue's tasks remembers message ids."""
    return _window(spec.deduplication_window, spec.limits.max_age or timedelta(0))


def _window(window: timedelta, max_age: timedelta) -> timedelta:
    """JetStream refuses to remember ids for longer than it keeps messages."""
    return min(window, max_age) if max_age else window

"""What a Queue and its groups are in JetStream, as values that can be compared with what the server reports.

The server answers with more than it was given (defaults, `_nats.*` metadata); only what is stated here is compared, so
what an administrator adds beside it (a placement, a compression) is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from protoqueue.naming import OWNER_METADATA, SCHEDULED_CONSUMER, QueueName
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.resources import Group, Key, Meta, Queue

PAUSED_UNTIL = "2999-01-01T00:00:00Z"
"""JetStream pauses a consumer until a moment; this one stands for ever."""

MAX_WAITING_PULLS = 4096
"""Pull requests one consumer holds: a few for each worker process. Cannot be changed on an existing consumer."""

_UNLIMITED = -1

_LARGEST_SIZE = 2**31 - 1

_LATER_ROOM, _TASKS_ROOM = 2048, 4096
"""Bytes that streams take beyond `limits.maxTaskSize`, to which clients keep. A retry has more headers than the task it
repeats, and what comes due more than what waited: the server stops at the first message that the target does not take.
"""


@dataclass(frozen=True)
class Owner:
    """Whose asset it is, as its metadata states it."""

    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, meta: Meta) -> "Owner":
        return cls(meta.key.kind, meta.namespace, meta.name, meta.uid)

    @classmethod
    def parse(cls, text: str | None) -> "Owner | None":
        parts = (text or "").split("/")
        return cls(*parts) if len(parts) == 4 else None

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}/{self.uid}"

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True)
class Source:
    stream: str
    transform: tuple[str, str]


@dataclass(frozen=True)
class Stream:
    """The part of a stream's configuration that the operator decides."""

    name: str
    owner: Owner | None
    subjects: tuple[str, ...]
    retention: str
    storage: str
    replicas: int
    max_age: timedelta = timedelta(0)
    max_msgs: int = _UNLIMITED
    max_bytes: int = _UNLIMITED
    max_msg_size: int = _UNLIMITED
    discard: str = "old"
    duplicate_window: timedelta = timedelta(minutes=2)
    allow_msg_ttl: bool = False
    allow_msg_schedules: bool = False
    allow_atomic: bool = False
    source: Source | None = None

    def config(self) -> dict[str, Any]:
        """As `$JS.API.STREAM.CREATE` takes it."""
        config: dict[str, Any] = {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": self.retention,
            "storage": self.storage,
            "num_replicas": self.replicas,
            "max_age": nanoseconds(self.max_age),
            "max_msgs": self.max_msgs,
            "max_bytes": self.max_bytes,
            "max_msg_size": self.max_msg_size,
            "discard": self.discard,
            "duplicate_window": nanoseconds(self.duplicate_window),
            "allow_msg_ttl": self.allow_msg_ttl,
            "allow_msg_schedules": self.allow_msg_schedules,
            "allow_atomic": self.allow_atomic,
            "metadata": {OWNER_METADATA: str(self.owner)} if self.owner else {},
        }
        if self.source:
            source, destination = self.source.transform
            config["sources"] = [
                {"name": self.source.stream, "subject_transforms": [{"src": source, "dest": destination}]}
            ]
        return config

    @classmethod
    def observed(cls, config: Mapping[str, Any]) -> "Stream":
        """What of the server's configuration is compared."""
        return cls(
            name=config["name"],
            owner=Owner.parse((config.get("metadata") or {}).get(OWNER_METADATA)),
            subjects=tuple(config.get("subjects") or ()),
            retention=config["retention"],
            storage=config["storage"],
            replicas=config["num_replicas"],
            max_age=_duration(config.get("max_age", 0)),
            max_msgs=config.get("max_msgs", _UNLIMITED),
            max_bytes=config.get("max_bytes", _UNLIMITED),
            max_msg_size=config.get("max_msg_size", _UNLIMITED),
            discard=config.get("discard", "old"),
            duplicate_window=_duration(config.get("duplicate_window", 0)),
            allow_msg_ttl=config.get("allow_msg_ttl", False),
            allow_msg_schedules=config.get("allow_msg_schedules", False),
            allow_atomic=config.get("allow_atomic", False),
            source=_observed_source(config.get("sources") or ()),
        )


@dataclass(frozen=True)
class Consumer:
    """The part of a consumer's configuration that the operator decides."""

    stream: str
    name: str
    owner: Owner | None
    filter_subjects: tuple[str, ...]
    ack_wait: timedelta
    max_ack_pending: int
    paused: bool = False
    deliver_policy: str = "all"
    """What a new consumer starts with. Never compared: JetStream reads it once, when the consumer is made."""

    def config(self) -> dict[str, Any]:
        """As `$JS.API.CONSUMER.CREATE` takes it, for a new consumer."""
        config: dict[str, Any] = {
            "durable_name": self.name,
            "name": self.name,
            "deliver_policy": self.deliver_policy,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(self.ack_wait),
            "max_deliver": _UNLIMITED,
            "max_ack_pending": self.max_ack_pending,
            "max_waiting": MAX_WAITING_PULLS,
            "metadata": {OWNER_METADATA: str(self.owner)} if self.owner else {},
            "filter_subjects": list(self.filter_subjects),
        }
        if self.paused:
            config["pause_until"] = PAUSED_UNTIL
        return config

    @classmethod
    def observed(cls, info: Mapping[str, Any]) -> "Consumer":
        """What of the server's consumer information is compared."""
        config = info["config"]
        return cls(
            stream=info["stream_name"],
            name=info["name"],
            owner=Owner.parse((config.get("metadata") or {}).get(OWNER_METADATA)),
            filter_subjects=tuple(config.get("filter_subjects") or filter(None, [config.get("filter_subject")])),
            ack_wait=_duration(config.get("ack_wait", 0)),
            max_ack_pending=config.get("max_ack_pending", 0),
            paused=bool(info.get("paused")),
            deliver_policy=config.get("deliver_policy", "all"),
        )

    def same_configuration(self, other: "Consumer") -> bool:
        """Whether an update would change nothing; pausing is an action of its own."""
        return replace(self, deliver_policy="", paused=False) == replace(other, deliver_policy="", paused=False)


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


def nanoseconds(duration: timedelta) -> int:
    """As JetStream counts time."""
    return round(duration / timedelta(microseconds=1)) * 1000


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
        max_msgs=limits.max_tasks or _UNLIMITED,
        max_bytes=limits.max_bytes or _UNLIMITED,
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
    return min(spec.limits.max_task_size + room, _LARGEST_SIZE) if spec.limits.max_task_size else _UNLIMITED


def task_window(spec: QueueSpec) -> timedelta:
    """How long the stream of a queue's tasks remembers message ids."""
    return _window(spec.deduplication_window, spec.limits.max_age or timedelta(0))


def _window(window: timedelta, max_age: timedelta) -> timedelta:
    """JetStream refuses to remember ids for longer than it keeps messages."""
    return min(window, max_age) if max_age else window


def _duration(count_ns: int) -> timedelta:
    return timedelta(microseconds=count_ns // 1000)


def _observed_source(sources: Any) -> Source | None:
    """The one source with one transform that the operator writes; anything else compares as different."""
    if not sources:
        return None
    transforms = sources[0].get("subject_transforms") or [{}]
    if len(sources) > 1 or len(transforms) > 1:
        return Source("", ("", ""))
    return Source(sources[0]["name"], (transforms[0].get("src", ""), transforms[0].get("dest", "")))

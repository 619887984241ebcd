"""Every name the contract fixes: streams, subjects, consumers, buckets, keys, headers. Nothing else spells one out.

Kubernetes names hold neither `_` nor capitals, and a Queue's name no dots, so every name here is unambiguous.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protoqueue.errors import InvalidTask

CONFIG_BUCKET = "pq-config"
RATE_BUCKET = "pq-rate"
DONE_BUCKET = "pq-done"

SCHEDULED_CONSUMER = "_scheduled"
"""The durable on the LATER stream that is never pulled: its `num_pending` counts the tasks not yet due."""

ALL_TASK_SUBJECTS = "pq.*.*.task.>"
"""The new tasks of every queue."""

OWNER_METADATA = "protoqueue.dev/owner"
"""Metadata key of every JetStream asset the operator owns; its value is `<kind>/<namespace>/<name>/<uid>`."""

MIN_PRIORITY, DEFAULT_PRIORITY, MAX_PRIORITY = 1, 5, 10

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[-/_=a-zA-Z0-9]+")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MOST_CHARACTERS = 128
_CONSUMER = re.compile(r"(?P<group>[-a-z0-9]+)_[po](?P<number>[0-9]+)")


class Header:
    """Headers of a task's message."""

    MSG_ID = "Nats-Msg-Id"
    TTL = "Nats-TTL"
    SCHEDULE = "Nats-Schedule"
    SCHEDULE_TARGET = "Nats-Schedule-Target"
    SCHEDULER = "Nats-Scheduler"
    ATTEMPT = "Pq-Attempt"
    REDRIVES = "Pq-Redrives"
    EXPIRES_AT = "Pq-Expires-At"
    TRACE_PARENT = "traceparent"
    TRACE_STATE = "tracestate"
    # of a dead letter
    REASON = "Pq-Reason"
    ERROR = "Pq-Error"
    ERROR_TYPE = "Pq-Error-Type"
    ATTEMPTS = "Pq-Attempts"
    GROUP = "Pq-Group"
    WORKER = "Pq-Worker"
    FAILED_AT = "Pq-Failed-At"
    STREAM_SEQUENCE = "Pq-Stream-Seq"


@dataclass(frozen=True, order=True)
class QueueName:
    """A queue's namespace and name, and what JetStream calls its parts."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "QueueName":
        """Read `namespace/name`; raises ValueError that says what is wrong."""
        namespace, slash, name = text.partition("/")
        if not slash or not _LABEL.fullmatch(namespace) or not _LABEL.fullmatch(name):
            raise ValueError(f"{text!r} is no queue: write <namespace>/<name>, each a DNS label such as default/email")
        return cls(namespace, name)

    @classmethod
    def of_stream(cls, stream: str) -> "QueueName | None":
        """The queue whose stream, of whichever kind, has this name; None where it is no queue's."""
        parts = stream.split("_")
        if parts[0] != "PQ" or len(parts) not in (3, 4):
            return None
        return cls(parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def stream(self) -> str:
        return f"PQ_{self.namespace}_{self.name}"

    @property
    def later_stream(self) -> str:
        return f"{self.stream}_LATER"

    @property
    def dead_letter_stream(self) -> str:
        return f"{self.stream}_DLQ"

    @property
    def config_key(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def _prefix(self) -> str:
        return f"pq.{self.namespace}.{self.name}"

    @property
    def stream_subjects(self) -> tuple[str, ...]:
        return tuple(f"{self._prefix}.{kind}.>" for kind in ("task", "retry", "ordered"))

    @property
    def later_subjects(self) -> tuple[str, ...]:
        return tuple(f"{self._prefix}.{kind}.>" for kind in ("scheduled", "cron", "due"))

    @property
    def dead_letter_subjects(self) -> tuple[str, ...]:
        return (f"pqdlq.{self.namespace}.{self.name}.>",)

    @property
    def new_task_subjects(self) -> tuple[str, ...]:
        """What a producer publishes to: a first message here wakes a group at zero."""
        return (f"{self._prefix}.task.>", f"{self._prefix}.ordered.>")

    @property
    def due_transform(self) -> tuple[str, str]:
        """Source and destination of the transform with which the queue takes over what has come due."""
        return self.all_due, f"{self._prefix}.>"

    @property
    def all_scheduled(self) -> str:
        return f"{self._prefix}.scheduled.>"

    @property
    def all_due(self) -> str:
        """What has come due and the queue has not taken over yet, as while it is full."""
        return f"{self._prefix}.due.>"

    @property
    def all_recurring(self) -> str:
        return f"{self._prefix}.cron.>"

    def task(self, level: int) -> str:
        return f"{self._prefix}.task.{level}"

    def ordered(self, partition: int) -> str:
        return f"{self._prefix}.ordered.{partition}"

    def retry(self, group: str, level: int) -> str:
        """Where a retried or redriven task returns to, by level or partition; `*` as group matches every group."""
        return f"{self._prefix}.retry.{group}.{level}"

    def scheduled(self, unique: str) -> str:
        return f"{self._prefix}.scheduled.{unique}"

    def cron(self, schedule: str) -> str:
        return f"{self._prefix}.cron.{schedule}"

    @property
    def cancellations(self) -> str:
        """Where workers hear of tasks to be cancelled; no stream stores it."""
        return f"{self._prefix}.cancel"

    @property
    def closed(self) -> str:
        """What a stream listens to that is to take no more tasks: nobody publishes there."""
        return f"{self._prefix}.closed"

    def due(self, subject: str) -> str:
        """The schedule target on LATER of a task or retry subject of this queue."""
        return f"{self._prefix}.due.{subject.removeprefix(f'{self._prefix}.')}"

    def dead_letter(self, group: str) -> str:
        return f"pqdlq.{self.namespace}.{self.name}.{group}"


@dataclass(frozen=True, order=True)
class GroupName:
    """A consumer group of a queue."""

    queue: QueueName
    name: str

    @classmethod
    def parse(cls, queue: QueueName, text: str) -> "GroupName":
        """The group of that name; raises ValueError that says what is wrong."""
        if not _LABEL.fullmatch(text):
            raise ValueError(f"{text!r} is no consumer group: write its name, a DNS label such as mailers")
        return cls(queue, text)

    def __str__(self) -> str:
        return f"{self.queue}/{self.name}"

    @property
    def config_key(self) -> str:
        return f"{self.queue.config_key}.{self.name}"

    @property
    def consumer_prefix(self) -> str:
        """What every consumer of this group, and no other group's, begins with."""
        return f"{self.name}_"

    @property
    def roll_call(self) -> str:
        """Where the group's workers are asked who they are and what they have to do; no stream stores it."""
        return f"pq.{self.queue.config_key}.workers.{self.name}"

    def level_consumer(self, level: int) -> str:
        return f"{self.name}_p{level}"

    def partition_consumer(self, partition: int) -> str:
        return f"{self.name}_o{partition}"

    def done_key(self, task_id: str) -> str:
        """Key in the idempotency ledger."""
        return f"{self.config_key}.{task_id if is_token(task_id) else _digest(task_id)}"

    def tally_key(self, partition: int) -> str:
        """Key of the attempts at a partition's task; with a dot more than that of any finished task."""
        return f"{self.config_key}.partition.{partition}"


def level_of(priority: int, levels: int) -> int:
    """The level, 0 (lowest) to `levels - 1`, of a priority; 0 on the wire means the default. Raises InvalidTask."""
    priority = priority or DEFAULT_PRIORITY
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidTask(f"priority {priority} is not within {MIN_PRIORITY} (lowest) to {MAX_PRIORITY} (highest)")
    return (priority - 1) * levels // MAX_PRIORITY


def partition_of(ordering_key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 (as in zlib) of its UTF-8 bytes, modulo the partitions."""
    return zlib.crc32(ordering_key.encode()) % partitions


def retry_message_id(task_id: str, group: str, attempt: int, sequence: int | None = None) -> str:
    """`Nats-Msg-Id` of the publish that schedules `attempt`: the same after a crash, so stored once.

    `sequence` is that of the message it replaces. It is left out where no other message can have the same id.
    """
    return f"{_bounded(task_id)}:{_run(group, attempt, sequence)}"


def redrive_message_id(task_id: str, group: str, sequence: int) -> str:
    """`Nats-Msg-Id` of the redrive of the dead letter at `sequence`: stored once, however often it is tried."""
    return f"{_bounded(task_id)}:{group}:redrive:{sequence}"


def dead_letter_message_id(task_id: str, group: str, sequence: int) -> str:
    """`Nats-Msg-Id` of a dead letter; `sequence` of the message that died."""
    return f"{_bounded(task_id)}:{group}:dead:{sequence}"


def scheduled_task(task_id: str) -> str:
    """The `<unique>` under `scheduled.` of a delayed task, and the beginning of that of its waiting retries."""
    return task_id if is_token(task_id) else _digest(task_id)


def scheduled_retry(task_id: str, group: str, attempt: int, sequence: int | None = None) -> str:
    """The `<unique>` under `scheduled.` of a waiting retry: a token of the task's own, so that its id leads here.

    It says by `sequence`, as its message id does, whether there may be others of the task's id.
    """
    return f"{scheduled_task(task_id)}.{_run(group, attempt, sequence)}"


def _run(group: str, attempt: int, sequence: int | None) -> str:
    return f"{group}:{attempt}" if sequence is None else f"{group}:{attempt}:{sequence}"


def number_of(subject: str) -> int:
    """The level or partition of a task's subject, new or retried."""
    return int(subject.rpartition(".")[2])


def is_token(text: str) -> bool:
    """Whether `text` can stand as one token of a subject and of a key, which the server reads up to some length."""
    return len(text) <= _MOST_CHARACTERS and _TOKEN.fullmatch(text) is not None


def is_header_name(text: str) -> bool:
    """Whether a message may be sent with a header of this name; those that come may have others."""
    return _HEADER_NAME.fullmatch(text) is not None


def group_of_consumer(consumer: str) -> tuple[str, int] | None:
    """The group a consumer belongs to and its level or partition; None for one of the operator's own."""
    match = _CONSUMER.fullmatch(consumer)
    return (match["group"], int(match["number"])) if match else None


def schedule_at(due: datetime) -> str:
    """`Nats-Schedule` for one moment, rounded up to the millisecond: never early."""
    due = due.astimezone(UTC) + timedelta(microseconds=999)
    return f"@at {due.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _bounded(task_id: str) -> str:
    """The id as a part of a message id: another producer's may be of any length and hold line breaks."""
    return task_id if len(task_id) <= _MOST_CHARACTERS and task_id.isprintable() else _digest(task_id)


def _digest(task_id: str) -> str:
    return hashlib.sha256(task_id.encode()).hexdigest()

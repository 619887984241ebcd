"""Every name the contract fixes: streams, subjects, consumers, buckets, keys, headers. Nothing else spells one out.

Kubernetes names hold neither `_` nor capitals, and a Queue's name no dots, so every name here is unambiguous.
"""

import hashlib
import math
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from protoqueue.errors import InvalidTask
from protoqueue.task import DEFAULT_PRIORITY, MAX_PRIORITY, MIN_PRIORITY

CONFIG_BUCKET = "pq-config"
RATE_BUCKET = "pq-rate"
DONE_BUCKET = "pq-done"
SAMPLES_BUCKET = "pq-samples"

SCHEDULED_CONSUMER = "_scheduled"
"""The durable that is never pulled, beside what is scheduled: its `num_pending` counts the tasks not yet due."""

KEPT_CONSUMER = "_kept"
"""The durable of a Broadcast queue that is never pulled: what is scheduled is kept for it until it is due."""

ALL_TASK_SUBJECTS = "pq.*.*.task.*"
"""The new tasks of every queue."""

OWNER_METADATA = "protoqueue.dev/owner"
"""Metadata key of every JetStream asset the operator owns; its value is `<kind>/<namespace>/<name>/<uid>`."""


MOST_EXACT_PARTITIONS = 32
"""Up to so many partitions a queue's streams take no other subject than what its groups consume."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[-/_=a-zA-Z0-9]+")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MOST_CHARACTERS = 128
_UNIQUE_DIGITS = 32
_CONSUMER = re.compile(r"(?P<group>[-a-z0-9]+)_[pou](?P<number>[0-9]+)")


class Header:
    """Headers of a task's message."""

    MSG_ID = "Nats-Msg-Id"
    DEDUP_ID = "Pq-Dedup-Id"
    TTL = "Nats-TTL"
    EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
    EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
    SCHEDULE = "Nats-Schedule"
    SCHEDULE_TARGET = "Nats-Schedule-Target"
    SCHEDULE_TTL = "Nats-Schedule-TTL"
    SCHEDULER = "Nats-Scheduler"
    SCHEDULE_NEXT = "Nats-Schedule-Next"
    RECURS = "Pq-Recurs"
    SCHEDULED_FOR = "Pq-Scheduled-For"
    UNIQUE = "Pq-Unique"
    UNIQUE_UNTIL = "Pq-Unique-Until"
    ATTEMPT = "Pq-Attempt"
    REDRIVES = "Pq-Redrives"
    EXPIRES_AT = "Pq-Expires-At"
    UNFIT_SINCE = "Pq-Unfit-Since"
    TRACE_PARENT = "traceparent"
    TRACE_STATE = "tracestate"
    DEAD_LETTER = "Pq-Dead-Letter"
    # of a dead letter
    REASON = "Pq-Reason"
    ERROR = "Pq-Error"
    ERROR_TYPE = "Pq-Error-Type"
    TRACEBACK = "Pq-Traceback"
    ATTEMPTS = "Pq-Attempts"
    MAX_ATTEMPTS = "Pq-Max-Attempts"
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
            raise ValueError(f"{text!r} is not a queue name: write <namespace>/<name>, both DNS labels: default/email")
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
    def new_stream(self) -> str:
        """Where the new tasks of a queue with limits are stored: what comes due neither counts nor is refused."""
        return f"{self.stream}_NEW"

    @property
    def later_stream(self) -> str:
        """Where an ordered queue keeps what is not yet due."""
        return f"{self.stream}_LATER"

    @property
    def dead_letter_stream(self) -> str:
        return f"{self.stream}_DLQ"

    @property
    def history_stream(self) -> str:
        """Where the records of finished attempts are kept."""
        return f"{self.stream}_HISTORY"

    @property
    def config_key(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def freed_key(self) -> str:
        """Key in `pq-config` of the dedup ids that were freed; no group's, as a label holds no `_`."""
        return f"{self.config_key}._freed"

    def samples_key(self, resolution: str, slot: int) -> str:
        """Key in `pq-samples` of a block of what was measured of the queue."""
        return f"{self.config_key}.{resolution}.{slot}"

    @property
    def _prefix(self) -> str:
        return f"pq.{self.namespace}.{self.name}"

    def stream_subjects(self, levels: int, partitions: int = 0) -> tuple[str, ...]:
        """Of a queue with so many partitions, or without with so many levels: what its groups consume and no more.

        What nobody consumes would be stored for ever, and count against the queue's limits. Of many partitions any
        number is taken: the server compares each subject with each, and a stream would take seconds to be made.
        """
        if partitions > MOST_EXACT_PARTITIONS:
            return (self.ordered("*"), self.retry("*", "*"))
        numbers = range(partitions or levels)
        first = [self.ordered(number) if partitions else self.task(number) for number in numbers]
        return (*first, *(self.retry("*", number) for number in numbers))

    def later_subjects(self, levels: int, partitions: int = 0) -> tuple[str, ...]:
        """Tasks and retries that are scheduled, recurring schedules, and what comes due for the queue's stream."""
        due = (self.due(subject) for subject in self.stream_subjects(levels, partitions))
        return (self.scheduled("*"), self.scheduled("*.*"), self.cron("*"), *due)

    def unique_subjects(self, levels: int) -> tuple[str, ...]:
        """Where tasks with a unique key lie: not yet due, and waiting for a worker at each level."""
        return (self.unique_scheduled("*", "*"), *(self.unique_waiting("*", level) for level in range(levels)))

    @property
    def dead_letter_subjects(self) -> tuple[str, ...]:
        return (f"pqdlq.{self.namespace}.{self.name}.>",)

    @property
    def new_task_subjects(self) -> tuple[str, ...]:
        """What a producer publishes to: a first message here wakes a group at zero."""
        return (f"{self._prefix}.task.*", self.ordered("*"), f"{self._prefix}.due.unique.*.*")

    @property
    def due_transform(self) -> tuple[str, str]:
        """Source and destination of the transform with which an ordered queue takes over what has come due."""
        return self.all_due, f"{self._prefix}.>"

    def waiting_subjects(self, *, ordered: bool) -> tuple[str, ...]:
        """Tasks that wait for a worker or are with one: due, new and redriven."""
        return self.all_due, self.ordered("*") if ordered else f"{self._prefix}.task.*", self.retry("*", "*")

    @property
    def everything(self) -> str:
        """Whatever is published for this queue."""
        return f"{self._prefix}.>"

    @property
    def all_scheduled(self) -> str:
        return f"{self._prefix}.scheduled.>"

    @property
    def all_due(self) -> str:
        """What has come due."""
        return f"{self._prefix}.due.>"

    @property
    def all_recurring(self) -> str:
        return f"{self._prefix}.cron.>"

    @property
    def all_checkpoints(self) -> str:
        """How far each Redrive has come; stored in one batch with the tasks that it puts back."""
        return self.checkpoint("*")

    def checkpoint(self, redrive: str) -> str:
        """Of the Redrive with that uid."""
        return f"{self._prefix}.redrive.{redrive}"

    def task(self, level: int | Literal["*"]) -> str:
        return f"{self._prefix}.task.{level}"

    def ordered(self, partition: int | Literal["*"]) -> str:
        return f"{self._prefix}.ordered.{partition}"

    def retry(self, group: str, level: int | Literal["*"]) -> str:
        """Where a retried or redriven task returns to, by level or partition; `*` as group matches every group."""
        return f"{self._prefix}.retry.{group}.{level}"

    def scheduled(self, unique: str) -> str:
        return f"{self._prefix}.scheduled.{unique}"

    def unique_waiting(self, token: str, level: int | Literal["*"]) -> str:
        """Where the task with a unique key waits and runs, by level; `*` as token matches every key."""
        return f"{self._prefix}.due.unique.{token}.{level}"

    def unique_scheduled(self, token: str, task_id: str) -> str:
        """The same while it is not due, or waits for its retry; `*` as token or id matches every one."""
        return f"{self._prefix}.scheduled.unique.{token}.{task_id if task_id == '*' else scheduled_task(task_id)}"

    def unique(self, token: str) -> str:
        """What matches the task of a unique key wherever it is, and nothing else: that it is there locks the key."""
        return f"{self._prefix}.*.unique.{token}.*"

    def cron(self, schedule: str) -> str:
        return f"{self._prefix}.cron.{schedule}"

    @property
    def cancellations(self) -> str:
        """Where workers hear of tasks to be cancelled; no stream stores it."""
        return f"{self._prefix}.cancel"

    @property
    def holder_requests(self) -> str:
        """Where workers are asked whether they hold a task; no stream stores it."""
        return f"{self._prefix}.holder"

    @property
    def closed(self) -> str:
        """What a stream listens to that is to take no more tasks: nobody publishes there."""
        return f"{self._prefix}.closed"

    def due(self, subject: str) -> str:
        """The schedule target on LATER of a task or retry subject of this queue."""
        return f"{self._prefix}.due.{subject.removeprefix(f'{self._prefix}.')}"

    def dead_letter(self, group: str) -> str:
        return f"pqdlq.{self.namespace}.{self.name}.{group}"

    @property
    def all_records(self) -> str:
        """The records of all finished attempts."""
        return f"pqhist.{self.namespace}.{self.name}.>"

    def records(self, outcome: str) -> str:
        """The records of all attempts that ended so, `done` and so on."""
        return f"{self.record_prefix(outcome)}*"

    def record_prefix(self, outcome: str) -> str:
        """What the subjects of these begin with."""
        return f"pqhist.{self.namespace}.{self.name}.{outcome}."

    def record(self, outcome: str, task_id: str) -> str:
        """Of a task the records of the attempts that ended so; `*` as outcome matches every one."""
        return f"{self.record_prefix(outcome)}{_token_of(task_id)}"


@dataclass(frozen=True, order=True)
class GroupName:
    """A consumer group of a queue."""

    queue: QueueName
    name: str

    @classmethod
    def parse(cls, queue: QueueName, text: str) -> "GroupName":
        """The group of that name; raises ValueError that says what is wrong."""
        if not _LABEL.fullmatch(text):
            raise ValueError(f"{text!r} is not a consumer group name: write a DNS label such as mailers")
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
    def status_requests(self) -> str:
        """Where the group's workers are asked who they are and what they have to do; no stream stores it."""
        return f"pq.{self.queue.config_key}.workers.{self.name}"

    def level_consumer(self, level: int) -> str:
        return f"{self.name}_p{level}"

    def unique_consumer(self, level: int) -> str:
        return f"{self.name}_u{level}"

    def partition_consumer(self, partition: int) -> str:
        return f"{self.name}_o{partition}"

    def done_key(self, task_id: str) -> str:
        """Key in the idempotency ledger."""
        return f"{self.config_key}.{_token_of(task_id)}"

    @property
    def seal_key(self) -> str:
        """Key of what the group's message ids are sealed with; with a dot more than that of any finished task."""
        return f"{self.config_key}.seal.key"

    def lease_key(self, delivery: str) -> str:
        """Key of until when a delivery's lease was extended; with a dot more than that of any finished task."""
        return f"{self.config_key}.lease.{delivery}"

    def firings_key(self, schedule: str) -> str:
        """Key of the slots of a schedule that were begun; with a dot more than that of any finished task."""
        return f"{self.config_key}.schedule.{schedule}"

    @property
    def throttle_key(self) -> str:
        """Key of until when the group starts nothing; with a dot more than that of any finished task."""
        return f"{self.config_key}.throttle.until"

    def started_key(self, place: str) -> str:
        """Key of that the message at a place was begun; `*` as group matches that of every group."""
        return f"{self.config_key}.started.{place}"

    def attempts_key(self, partition: int) -> str:
        """Key of the deliveries of a partition's task; with a dot more than that of any finished task."""
        return f"{self.config_key}.partition.{partition}"

    def delivery_key(self, place: str) -> str:
        """The same for the message at a place, as `place_of` names it, of a queue that is not ordered."""
        return f"{self.config_key}.message.{place}"


def level_of(priority: int, levels: int) -> int:
    """The level, 0 (lowest) to `levels - 1`, of a priority; 0 on the wire means the default. Raises InvalidTask."""
    priority = priority or DEFAULT_PRIORITY
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidTask(f"priority must be {MIN_PRIORITY} (lowest) to {MAX_PRIORITY} (highest), not {priority}")
    return (priority - 1) * levels // MAX_PRIORITY


def partition_of(ordering_key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 (as in zlib) of its UTF-8 bytes, modulo the partitions."""
    return zlib.crc32(ordering_key.encode()) % partitions


def dedup_message_id(dedup_id: str, after: int = 0) -> str:
    """`Nats-Msg-Id` of a new task that its producer gave a `dedup_id`: never that of a task's own id.

    `after` is the stream sequence of the task before it, which was cancelled or purged.
    """
    return f"dedup~{after}:{dedup_id}" if after else f"dedup:{dedup_id}"


def unique_token(key: str) -> str:
    """The token of a unique key in subjects."""
    return hashlib.sha256(key.encode()).hexdigest()[:_UNIQUE_DIGITS]


def unique_token_of(subject: str) -> str | None:
    """That of the task on a subject; None where no key is locked by it."""
    tokens = subject.split(".", 7)
    return tokens[5] if len(tokens) == 7 and tokens[4] == "unique" and tokens[3] in ("due", "scheduled") else None


def claim_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a redriven task that takes its unique key again; `place` of the message it replaces."""
    return f"{_bounded(task_id)}:{group}:unique:{place}"


def retry_message_id(task_id: str, group: str, attempt: int, place: str | None = None) -> str:
    """`Nats-Msg-Id` of the publish that schedules `attempt`: the same after a crash, so stored once.

    `place` is that of the message it replaces. It is left out where no other message can have the same id.
    """
    return f"{_bounded(task_id)}:{_run(group, attempt, place)}"


def redrive_message_id(task_id: str, group: str, sequence: int) -> str:
    """`Nats-Msg-Id` of the redrive of the dead letter at `sequence`: stored once, however often it is tried."""
    return f"{_bounded(task_id)}:{group}:redrive:{sequence}"


def moved_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a task that is stored anew in the queue's stream; `place` of the message it replaces."""
    return f"{_bounded(task_id)}:{group}:moved:{place}"


def dead_letter_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a dead letter; `place` of the message that died."""
    return f"{_bounded(task_id)}:{group}:dead:{place}"


def letter_message_id(task_id: str, group: "GroupName", place: str) -> str:
    """`Nats-Msg-Id` of a dead letter as a task of another queue, which may get those of several queues."""
    return f"{_bounded(task_id)}:{group}:dead:{place}"


def return_message_id(task_id: str, group: "GroupName", place: str) -> str:
    """`Nats-Msg-Id` of a dead letter that `group`, which had it at `place`, sends back to where it came from."""
    return f"{_bounded(task_id)}:{group}:redrive:{place}"


def scheduled_task(task_id: str) -> str:
    """The `<unique>` under `scheduled.` of a delayed task, and the beginning of that of its waiting retries."""
    return _token_of(task_id)


def scheduled_retry(task_id: str, group: str, attempt: int, place: str | None = None) -> str:
    """The `<unique>` under `scheduled.` of a waiting retry: a token of the task's own, so that its id leads here.

    It says by `place`, as its message id does, whether there may be others of the task's id.
    """
    return f"{scheduled_task(task_id)}.{_run(group, attempt, place)}"


def scheduled_return(task_id: str, group: "GroupName", place: str) -> str:
    """The `<unique>` under `scheduled.` of a dead letter that `group` sends back: a token of the task's own too."""
    return f"{scheduled_task(task_id)}.{group.queue.name}:{group.name}:redrive:{place}"


def _run(group: str, attempt: int, place: str | None) -> str:
    return f"{group}:{attempt}" if place is None else f"{group}:{attempt}:{place}"


def place_of(stream: str, sequence: int) -> str:
    """Where a task's message lies, among all streams of its queue: `12`, or `12-NEW` where it is not the first of them.

    Streams count apart, so that the sequence alone may be that of another task.
    """
    kind = stream.split("_")[3:]
    return f"{sequence}-{kind[0]}" if kind else str(sequence)


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


def time_to_live(seconds: float) -> str:
    """`Nats-TTL`, or `Nats-Schedule-TTL` for what a schedule fires: whole seconds, rounded up, at least one."""
    return f"{max(1, math.ceil(seconds))}s"


def _bounded(task_id: str) -> str:
    """The id as a part of a message id: another producer's may be of any length and hold line breaks."""
    return task_id if len(task_id) <= _MOST_CHARACTERS and task_id.isprintable() else _digest(task_id)


def _token_of(task_id: str) -> str:
    return task_id if is_token(task_id) else _digest(task_id)


def _digest(task_id: str) -> str:
    return hashlib.sha256(task_id.encode()).hexdigest()

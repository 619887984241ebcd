"""The subjects of a queue, and the levels, partitions and unique keys that stand in them."""

import hashlib
import zlib
from typing import TypeAlias

from protoqueue.errors import InvalidTask
from protoqueue.protocol.tokens import token_of
from protoqueue.task import DEFAULT_PRIORITY, MAX_PRIORITY, MIN_PRIORITY

DEFAULT_LANES = 32
"""Of a fair queue: a key shares both of its lanes with one other key in 500."""

Slot: TypeAlias = int | str
"""Last token of a task's subject: its level or partition, and `<level>-<lane>` for a task with a fairness key."""

MOST_EXACT_PARTITIONS = 32
"""Up to this many partitions a queue's streams accept exactly the subjects that its groups consume."""

_UNIQUE_DIGITS = 32
_REPLACE = "replace-"


class QueueSubjects:
    """The subjects of one queue; `QueueName` is one."""

    namespace: str
    name: str

    @property
    def _prefix(self) -> str:
        return f"pq.{self.namespace}.{self.name}"

    def stream_subjects(self, levels: int, partitions: int = 0, lanes: int = 0) -> tuple[str, ...]:
        """The subjects that the groups of a queue with these partitions, or else levels, consume, and no others.

        Messages that no group consumes would be stored for ever and count against the queue's limits. With many
        partitions, and with lanes, any number is accepted: the server compares all subjects pairwise, and creating a
        stream would take seconds.
        """
        if partitions > MOST_EXACT_PARTITIONS:
            return (self.ordered("*"), self.retry("*", "*"))
        if lanes:
            return (self.task("*"), self.retry("*", "*"))
        numbers = range(partitions or levels)
        first = [self.ordered(number) if partitions else self.task(number) for number in numbers]
        return (*first, *(self.retry("*", number) for number in numbers))

    def later_subjects(self, levels: int, partitions: int = 0, lanes: int = 0) -> tuple[str, ...]:
        """Scheduled tasks and retries, recurring schedules, and what comes due for the queue's stream."""
        due = (self.due(subject) for subject in self.stream_subjects(levels, partitions, lanes))
        return (self.scheduled("*"), self.scheduled("*.*"), self.cron("*"), *due)

    def unique_subjects(self, levels: int, lanes: int = 0) -> tuple[str, ...]:
        """Subjects of tasks with a unique key: not yet due, and waiting for a worker at each level, in any lane."""
        waiting = ("*",) if lanes else tuple(map(str, range(levels)))
        return (self.unique_scheduled("*", "*"), *(self.unique_waiting("*", slot) for slot in waiting))

    @property
    def dead_letter_subjects(self) -> tuple[str, ...]:
        return (f"pqdlq.{self.namespace}.{self.name}.>",)

    @property
    def new_task_subjects(self) -> tuple[str, ...]:
        """The subjects of new tasks: a first message here activates a group at zero."""
        return (f"{self._prefix}.task.*", self.ordered("*"), f"{self._prefix}.due.unique.*.*")

    @property
    def due_transform(self) -> tuple[str, str]:
        """Source and destination of the transform by which an ordered queue sources what has come due."""
        return self.all_due, f"{self._prefix}.>"

    def waiting_subjects(self, *, ordered: bool) -> tuple[str, ...]:
        """Tasks that wait for a worker or run: due, new and redriven."""
        return self.all_due, self.ordered("*") if ordered else f"{self._prefix}.task.*", self.retry("*", "*")

    @property
    def everything(self) -> str:
        """Everything published for this queue."""
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
        """Progress of each Redrive, stored in one batch with the tasks that it puts back."""
        return self.checkpoint("*")

    def checkpoint(self, redrive: str) -> str:
        """Progress of the Redrive with that uid."""
        return f"{self._prefix}.redrive.{redrive}"

    def task(self, slot: Slot) -> str:
        return f"{self._prefix}.task.{slot}"

    def ordered(self, partition: Slot) -> str:
        return f"{self._prefix}.ordered.{partition}"

    def retry(self, group: str, slot: Slot) -> str:
        """Where a retried or redriven task returns to; `*` as group matches every group."""
        return f"{self._prefix}.retry.{group}.{slot}"

    def scheduled(self, unique: str) -> str:
        return f"{self._prefix}.scheduled.{unique}"

    def unique_waiting(self, token: str, slot: Slot) -> str:
        """Where the task with a unique key waits and runs; `*` as token matches every key."""
        return f"{self._prefix}.due.unique.{token}.{slot}"

    def unique_scheduled(self, token: str, task_id: str) -> str:
        """The same while it is not due, or waits for its retry; `*` as token or id matches every one."""
        return f"{self._prefix}.scheduled.unique.{token}.{task_id if task_id == '*' else scheduled_task(task_id)}"

    def unique(self, token: str) -> str:
        """Matches the task of a unique key wherever it is, and nothing else: its presence locks the key."""
        return f"{self._prefix}.*.unique.{token}.*"

    def replaceable(self, token: str, task_id: str) -> str:
        """Where a task with a replace key lies until it is due; `*` as id or token matches every one.

        Each task has a subject of its own: what fires just now removes the schedule on its own subject, whichever that
        is by then.
        """
        every = token == "*"  # noqa: S105
        key = "*" if every else f"{_REPLACE}{token}"
        return f"{self._prefix}.scheduled.{key}.{task_id if task_id == '*' else scheduled_task(task_id)}"

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
        """The only subject of a stream that must accept no more tasks: nothing is published there."""
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
        """The records of all attempts with this outcome, such as `done`."""
        return f"{self.record_prefix(outcome)}*"

    def record_prefix(self, outcome: str) -> str:
        """The prefix of the subjects of these records."""
        return f"pqhist.{self.namespace}.{self.name}.{outcome}."

    def record(self, outcome: str, task_id: str) -> str:
        """The records of a task's attempts with this outcome; `*` as outcome matches every one."""
        return f"{self.record_prefix(outcome)}{token_of(task_id)}"


def level_of(priority: int, levels: int) -> int:
    """The level, 0 (lowest) to `levels - 1`, of a priority; 0 on the wire means the default. Raises InvalidTask."""
    priority = priority or DEFAULT_PRIORITY
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidTask(f"priority must be {MIN_PRIORITY} (lowest) to {MAX_PRIORITY} (highest), not {priority}")
    return (priority - 1) * levels // MAX_PRIORITY


def partition_of(ordering_key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 (as in zlib) of its UTF-8 bytes, modulo the partitions."""
    return zlib.crc32(ordering_key.encode()) % partitions


def lanes_of(fairness_key: str, lanes: int) -> tuple[int, int]:
    """The two lanes of a key, by CRC-32 (as in zlib) of its UTF-8 bytes; they differ."""
    number, first = divmod(zlib.crc32(fairness_key.encode()), lanes)
    return first, (first + 1 + number % max(1, lanes - 1)) % lanes


def lane_slot(level: int, lane: int) -> str:
    """The slot of tasks of a level in a lane."""
    return f"{level}-{lane}"


def level_slots(level: int, lanes: int) -> tuple[Slot, ...]:
    """The slots of a level: that of tasks without a fairness key, and one for each lane."""
    return (level, *(lane_slot(level, lane) for lane in range(lanes)))


def slot_of(subject: str) -> str:
    """The slot of a task's subject, new or retried: its next run has the same."""
    return subject.rpartition(".")[2]


def number_of(subject: str) -> int:
    """The level or partition of a task's subject, new or retried."""
    return int(slot_of(subject).partition("-")[0])


def schedule_unique_key(schedule: str) -> str:
    """The unique key of the firings of a schedule that do not overlap."""
    return f"schedule:{schedule}"


def unique_token(key: str) -> str:
    """The token of a unique key or a replace key in subjects."""
    return hashlib.sha256(key.encode()).hexdigest()[:_UNIQUE_DIGITS]


def unique_token_of(subject: str) -> str | None:
    """The token in a task's subject; None if the task locks no key."""
    tokens = subject.split(".", 7)
    return tokens[5] if len(tokens) == 7 and tokens[4] == "unique" and tokens[3] in ("due", "scheduled") else None


def replace_token_of(schedule: str) -> str | None:
    """The token of the replace key of a task that the schedule on this subject fired; None without such a key."""
    tokens = schedule.split(".", 6)
    is_replaceable = len(tokens) == 6 and tokens[3] == "scheduled" and tokens[4].startswith(_REPLACE)
    return tokens[4].removeprefix(_REPLACE) if is_replaceable else None


def scheduled_task(task_id: str) -> str:
    """The `<unique>` under `scheduled.` of a delayed task, and the beginning of those of its waiting retries."""
    return token_of(task_id)

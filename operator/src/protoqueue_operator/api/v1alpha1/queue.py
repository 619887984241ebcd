"""The Queue resource: its specification and status, and the rules the API server enforces."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from protoqueue.protocol.subjects import DEFAULT_LANES
from protoqueue_operator.api.v1alpha1.conditions import MOST_CONDITIONS, Condition, Conditions
from protoqueue_operator.api.v1alpha1.fields import (
    AtLeast,
    Duration,
    LabelName,
    Model,
    Moment,
    ObjectName,
    Quantity,
    rules,
)
from protoqueue_operator.api.v1alpha1.location import NatsLocation
from protoqueue_operator.api.v1alpha1.schedule import Schedule, ScheduleStatus

DEFAULT_PRIORITY_LEVELS = 3
MOST_LANES = 256
"""Of all levels together: each is a consumer of every group and stream."""

_LEVELS = f"(has({{0}}.priorityLevels) ? {{0}}.priorityLevels : has({{0}}.fairness) ? 1 : {DEFAULT_PRIORITY_LEVELS})"
"""The number of levels of a specification in CEL."""

_LANES = f"(has({{0}}.fairness.lanes) ? {{0}}.fairness.lanes : {DEFAULT_LANES})"
"""The number of lanes of a specification that has fairness, in CEL."""

_IMMUTABLE = "is immutable: create a Queue with another name and move the tasks there"
_NO_JITTER = "jitter of a schedule excludes ordering: it would hold up its partition"
_NO_SKIP = "overlap: Skip of a schedule excludes ordering and delivery: Broadcast"


class Ordering(Model):
    """Ordered processing: tasks with the same ordering key run in order, one at a time."""

    partitions: int = Field(
        16,
        ge=1,
        le=256,
        description="Number of partitions: the maximum number of ordering keys processed in parallel. Immutable.",
    )


class Fairness(Model):
    """Fair processing: fairness keys that have tasks waiting share the workers evenly."""

    lanes: int = Field(
        DEFAULT_LANES,
        ge=2,
        le=128,
        description="Number of lanes that the fairness keys are spread over, two for each key. More lanes keep more "
        "keys apart and cost NATS one consumer each, for each priority level. Can only be increased.",
    )


class Limits(Model):
    """Limits of the queue, and what happens when one is reached."""

    max_tasks: int | None = Field(
        None, ge=1, description="Maximum number of tasks stored, waiting or in flight. Absent: no limit."
    )
    max_bytes: Quantity | None = Field(
        None, description="Maximum size of the stored tasks as JetStream counts it, headers included. Absent: no limit."
    )
    max_task_size: Quantity | None = Field(
        None,
        description="Maximum size of a task with its metadata. Lower it only while no larger task is scheduled: that "
        "would block all tasks due after it. Absent: what the NATS server allows, by default 1Mi.",
    )
    max_age: Moment | None = Field(
        None,
        description="Maximum time a task waits after it is due; older tasks are dropped. At least 100ms. Absent: no "
        "limit.",
    )
    on_full: Literal["Reject", "DropOldest"] = Field(
        "Reject",
        description="Reject: new tasks are rejected with the error QueueFull. DropOldest: the oldest task is dropped.",
    )


Attempts = Annotated[int, Field(ge=1, le=1000)]
Multiplier = Annotated[float, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class Retry(Model):
    """Retry policy of failed tasks."""

    max_attempts: Attempts = Field(
        20,
        description="Maximum number of attempts, the first included, before the task is dead-lettered. With the "
        "defaults the last attempt is about eight hours after the first.",
    )
    initial_delay: Duration = Field("1s", validate_default=True, description="Delay before the second attempt.")
    multiplier: Multiplier = Field(
        2, description="Factor by which the delay grows with each further attempt, up to maxDelay."
    )
    max_delay: Duration = Field("1h", validate_default=True, description="Maximum delay between two attempts.")
    jitter: Share = Field(0.2, description="Fraction by which each delay is randomized: 0.2 is ±20%.")
    max_crashes: Attempts = Field(
        5,
        description="Maximum number of times a worker may crash while running the task before it is dead-lettered. "
        "Never more than maxAttempts.",
    )
    rollout_grace: Duration = Field(
        "15m",
        validate_default=True,
        description="How long a task without a matching handler, or with a payload that no handler can read, waits for "
        "a newer worker before it is dead-lettered. Does not count as an attempt. 0s: at once.",
    )


class QueueReference(Model):
    name: LabelName = Field(description="Name of a Queue in the same namespace.")


class DeadLetter(Model):
    """Dead letters: tasks that failed permanently."""

    model_config = ConfigDict(
        json_schema_extra=rules(("!has(self.queueRef) || self.enabled", "queueRef excludes enabled: false"))
    )

    enabled: bool = Field(
        True, description="Whether to keep dead letters. false: failed tasks are dropped and counted in a metric."
    )
    max_age: Moment = Field("14d", validate_default=True, description="How long dead letters are kept. At least 100ms.")
    max_tasks: int = Field(
        100_000, ge=1, description="Maximum number of dead letters; when it is exceeded, the oldest are deleted."
    )
    expired: bool = Field(False, description="Whether tasks that expire before a worker starts them are dead-lettered.")
    queue_ref: QueueReference | None = Field(
        None,
        description="A Queue whose tasks the dead letters become, with the same id and why they died: a ConsumerGroup "
        "of that Queue works on them, and may send them back. A WorkQueue of the same namespace and NATS connection, "
        "which leads back to this one by no queueRef of its own. While it is missing, refused or full, and for bytes "
        "that are not a task, dead letters stay in this queue's own stream; what is there already stays there. "
        "Absent: all do.",
    )


class History(Model):
    """What became of tasks: a record for each attempt, for status, results and search."""

    max_age: Moment = Field("24h", validate_default=True, description="How long records are kept. At least 100ms.")
    max_tasks: int = Field(
        100_000,
        ge=1,
        description="Maximum number of records, one for each attempt; when it is exceeded, the oldest are deleted.",
    )
    max_bytes: Quantity = Field(
        "64Mi",
        validate_default=True,
        description="Maximum size of all records together, set aside in JetStream on each replica; when it is "
        "exceeded, the oldest are deleted.",
    )
    results: bool = Field(
        True, description="Whether to record what handlers return, up to 64Ki each, for receipt.result()."
    )
    payloads: bool = Field(
        False,
        description="Whether to record the payloads of tasks too, up to 64Ki each. Anyone who may read the history "
        "sees them for as long as it is kept.",
    )


class RateLimit(Model):
    """Maximum number of tasks started per period, across all workers that share the limit."""

    tasks: int = Field(ge=1, description="Number of tasks per period.")
    per: Annotated[Duration, AtLeast(timedelta(milliseconds=1))] = Field(
        "1s", validate_default=True, description="The period. At least 1ms."
    )
    burst: int | None = Field(
        None,
        ge=1,
        description="Maximum number of tasks that may start at once after an idle time. Absent: the same as tasks.",
    )


class SecretReference(Model):
    name: ObjectName = Field(description="Name of a Secret in the same namespace.")


class NatsConnection(Model):
    """NATS server and account of this queue, if not the operator's own."""

    connection_secret_ref: SecretReference = Field(
        description="Secret with url (nats:// or tls://), and as needed creds, nkey, token, user, password, "
        "inboxPrefix, ca.crt, tls.crt, tls.key. Mounted into the workers of a template that names no Secret of its own."
    )


class QueueSpec(Model):
    """Desired state of the queue."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!(has(self.ordering) && has(self.priorityLevels))", "ordering and priorityLevels exclude each other"),
            (
                "has(self.ordering) == has(oldSelf.ordering) && (!has(self.ordering) || self.ordering == "
                "oldSelf.ordering)",
                f"ordering {_IMMUTABLE}",
            ),
            (
                f"{_LEVELS.format('self')} >= {_LEVELS.format('oldSelf')}",
                "priorityLevels may only grow: tasks wait on the levels that would go",
            ),
            ("!(has(self.ordering) && has(self.fairness))", "ordering and fairness exclude each other"),
            (
                "!has(self.fairness) || !has(self.delivery) || self.delivery != 'Broadcast'",
                "fairness excludes delivery: Broadcast",
            ),
            (
                "!has(oldSelf.fairness) || (has(self.fairness) && "
                f"{_LANES.format('self')} >= {_LANES.format('oldSelf')})",
                "fairness.lanes may only grow, and fairness stays: tasks wait in the lanes that would go",
            ),
            (
                f"!has(self.fairness) || {_LEVELS.format('self')} * {_LANES.format('self')} <= {MOST_LANES}",
                f"priorityLevels times fairness.lanes may be at most {MOST_LANES}",
            ),
            (
                "!has(self.schedules) || !has(self.ordering) || self.schedules.all(s, !has(s.jitter))",
                _NO_JITTER,
            ),
            (
                "!has(self.schedules) || !has(self.ordering) && (!has(self.delivery) || self.delivery != 'Broadcast')"
                " || self.schedules.all(s, !has(s.overlap) || s.overlap != 'Skip')",
                _NO_SKIP,
            ),
        )
    )

    delivery: Literal["WorkQueue", "Broadcast"] = Field(
        "WorkQueue",
        description="WorkQueue: each task is processed once. Broadcast: every ConsumerGroup gets its own copy. "
        "Immutable.",
        json_schema_extra=rules(("self == oldSelf", f"delivery {_IMMUTABLE}")),
    )
    priority_levels: int | None = Field(
        None,
        ge=1,
        le=10,
        description="Number of levels that the priorities 1 (lowest) to 10 are mapped to. Can only be increased. "
        "Mutually exclusive with ordering. Absent: 3, or 1 with fairness.",
    )
    fairness: Fairness | None = Field(
        None,
        description="Fair processing: keys (fairness_key) that have tasks waiting share the workers evenly, however "
        "many tasks each has. Tasks without a key count as those of one. Mutually exclusive with ordering and with "
        "delivery: Broadcast. Can be added to a queue, and not removed.",
    )
    ordering: Ordering | None = Field(
        None, description="Run tasks with the same ordering key in order, one at a time. Immutable."
    )
    storage: Literal["File", "Memory"] = Field(
        "File",
        description="Storage of the streams. Memory is lost when the NATS server restarts. Immutable.",
        json_schema_extra=rules(("self == oldSelf", f"storage {_IMMUTABLE}")),
    )
    replicas: Literal[1, 3, 5] = Field(
        1, description="Number of NATS servers that store each task: 1, 3 or 5, at most as many as the cluster has."
    )
    limits: Limits = Field({}, validate_default=True, description="Limits of the queue. All optional.")
    deduplication_window: Moment = Field(
        "2m",
        validate_default=True,
        description="How long a second task with the same dedup_id is rejected as a duplicate. Immediate and delayed "
        "tasks are deduplicated separately. At least 100ms.",
    )
    visibility_timeout: Moment = Field(
        "30s",
        validate_default=True,
        description="How long a started task is hidden from other workers without a heartbeat from its worker. Workers "
        "send heartbeats while a handler runs, however long that takes. At least 100ms.",
    )
    retry: Retry = Field({}, validate_default=True, description="Retry policy of failed tasks.")
    dead_letter: DeadLetter = Field(
        {}, validate_default=True, description="Dead letters: tasks that failed permanently."
    )
    history: History | None = Field(
        None,
        description="What became of tasks: a record for each attempt, for status, results and search. Records are "
        "written beside the work and may be lost when a worker is killed. Absent: no records are kept, and those that "
        "were are deleted.",
    )
    rate_limit: RateLimit | None = Field(
        None,
        description="Maximum number of tasks started per period, across all consumers of the queue. Absent: no limit.",
    )
    schedules: tuple[Schedule, ...] = Field(
        (),
        max_length=100,
        description="Recurring tasks.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    paused: bool = Field(False, description="Stop delivery. Producers can still enqueue.")
    deletion_policy: Literal["Retain", "Delete", "DeleteIfEmpty"] = Field(
        "Retain",
        description="What happens to the streams and their tasks when the Queue is deleted. Retain keeps them: a Queue "
        "created again with the same name has its tasks. Delete deletes them. DeleteIfEmpty keeps them, and the Queue, "
        "until no task is left.",
    )
    nats: NatsConnection | None = Field(None, description="NATS connection of this queue. Absent: the operator's own.")

    @model_validator(mode="after")
    def _what_goes_together(self) -> "QueueSpec":
        if self.ordering and self.priority_levels:
            raise ValueError("ordering and priorityLevels exclude each other")
        if self.fairness and self.ordering:
            raise ValueError("ordering and fairness exclude each other")
        if self.fairness and self.delivery == "Broadcast":
            raise ValueError("fairness excludes delivery: Broadcast")
        if self.lanes * self.effective_priority_levels > MOST_LANES:
            raise ValueError(f"priorityLevels times fairness.lanes may be at most {MOST_LANES}")
        if self.ordering and any(schedule.jitter for schedule in self.schedules):
            raise ValueError(_NO_JITTER)
        takes_skip = not self.ordering and self.delivery == "WorkQueue"
        if not takes_skip and any(schedule.overlap == "Skip" for schedule in self.schedules):
            raise ValueError(_NO_SKIP)
        return self

    @property
    def lanes(self) -> int:
        """0 where the queue is not fair."""
        return self.fairness.lanes if self.fairness else 0

    @property
    def active_schedules(self) -> tuple[Schedule, ...]:
        """Those that fire."""
        return tuple(schedule for schedule in self.schedules if not schedule.suspend)

    @property
    def effective_priority_levels(self) -> int:
        """The number of levels; 0 where the queue is ordered."""
        return 0 if self.ordering else self.priority_levels or (1 if self.fairness else DEFAULT_PRIORITY_LEVELS)


class QueueTasks(Model):
    """Number of tasks by state."""

    waiting: int = Field(0, description="Tasks waiting for a worker.")
    in_flight: int = Field(0, description="Tasks in flight: started by a worker and not yet finished.")
    scheduled: int = Field(0, description="Tasks not yet due: delayed tasks and retries.")
    dead: int = Field(
        0,
        description="Dead letters in the queue's own dead-letter stream. With deadLetter.queueRef those that the other "
        "queue did not take, and those from before it was set.",
    )
    stranded: int = Field(
        0,
        description="Stored messages that no consumer takes: on subjects that the queue does not have.",
    )


class QueueStatus(Model):
    """Observed state of the queue."""

    observed_generation: int | None = Field(
        None, description="The generation last reconciled. -1 until the operator has seen the resource."
    )
    conditions: Conditions = Field(
        default=(),
        max_length=MOST_CONDITIONS,
        description="Ready: whether the queue in NATS is as specified, and if not, why.",
    )
    stream: str | None = Field(None, max_length=256, description="JetStream stream of the tasks.")
    priority_levels: int | None = Field(None, description="Number of priority levels in effect.")
    dead_letter_stream: str | None = Field(None, max_length=256, description="JetStream stream of the dead letters.")
    tasks: QueueTasks | None = Field(None, description="Number of tasks by state.")
    schedules: tuple[ScheduleStatus, ...] | None = Field(
        None,
        max_length=100,
        description="When each schedule with a cron fires next; none that is suspended. Updated at most once a minute.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    next_schedule_time: datetime | None = Field(
        None, description="When the next of the schedules with a cron fires. Absent: none is known."
    )
    nats: NatsLocation | None = Field(None, description="NATS account of the queue.")
    oldest_task_time: datetime | None = Field(
        None,
        description="When the oldest task in the stream was stored, waiting or in flight. Absent: no task is waiting.",
    )

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

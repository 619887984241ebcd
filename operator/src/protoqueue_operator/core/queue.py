"""The Queue resource: its specification and status, and the rules the API server enforces."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from protoqueue_operator.core.conditions import Condition, Conditions
from protoqueue_operator.core.fields import Duration, LabelName, Model, ObjectName, Quantity, rules
from protoqueue_operator.core.places import Place

DEFAULT_PRIORITY_LEVELS = 3
_IMMUTABLE = "is immutable: create a Queue with another name and move the tasks there"


class Ordering(Model):
    """Tasks with one ordering key run strictly in order, one at a time."""

    partitions: int = Field(
        16, ge=1, le=256, description="How many keys can be worked on at the same time, at most. Immutable."
    )


class Limits(Model):
    """How much the queue takes, and what happens when it is full."""

    max_tasks: int | None = Field(None, ge=1, description="Most tasks kept, waiting or in flight. Absent: no limit.")
    max_bytes: Quantity | None = Field(
        None, description="Most bytes kept, as JetStream stores them, headers included. Absent: no limit."
    )
    max_task_size: Quantity | None = Field(
        None,
        description="Largest task with its metadata. Lower it only while no larger one waits to come due: that would "
        "hold up all behind it. Absent: what the NATS server allows, 1Mi unless configured.",
    )
    max_age: Duration | None = Field(
        None,
        description="How long a task may wait, from when it is due, before it is dropped. At least 100ms. "
        "Absent: for ever.",
    )
    on_full: Literal["Reject", "DropOldest"] = Field(
        "Reject",
        description="Reject: the producer gets the error QueueFull. DropOldest: the oldest task is dropped.",
    )


Attempts = Annotated[int, Field(ge=1, le=1000)]
Multiplier = Annotated[float, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class Retry(Model):
    """What happens to a task whose handler fails."""

    max_attempts: Attempts = Field(
        5, description="Attempts before the task goes to the dead letters, the first one included."
    )
    initial_delay: Duration = Field("1s", validate_default=True, description="Wait before the second attempt.")
    multiplier: Multiplier = Field(2, description="Factor by which each further wait grows, up to maxDelay.")
    max_delay: Duration = Field("5m", validate_default=True, description="Longest wait between two attempts.")
    jitter: Share = Field(
        0.2, description="Share of the wait by which it is spread at random to both sides: 0.2 is ±20%."
    )


class DeadLetter(Model):
    """Where tasks go that failed for good."""

    enabled: bool = Field(True, description="false drops failed tasks; a metric counts them.")
    max_age: Duration = Field(
        "14d", validate_default=True, description="How long dead letters are kept. At least 100ms."
    )
    max_tasks: int = Field(100_000, ge=1, description="How many dead letters are kept; beyond, the oldest go.")
    expired: bool = Field(False, description="true keeps tasks that expire before a worker starts them.")


class RateLimit(Model):
    """At most `tasks` started per `per`, over all workers that share the limit."""

    tasks: int = Field(ge=1, description="Tasks that may start per period.")
    per: Duration = Field("1s", validate_default=True, description="The period. At least 1ms.")
    burst: int | None = Field(
        None, ge=1, description="Most tasks that may start at once after a quiet time. Absent: the same as tasks."
    )


class Schedule(Model):
    """A recurring task."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.cron) != has(self.every)", "a schedule has exactly one of cron and every"),
            ("!has(self.timeZone) || has(self.cron)", "timeZone goes with cron only"),
        )
    )

    name: LabelName = Field(description="Unique within the queue; part of each task's id.")
    cron: str | None = Field(
        None, max_length=128, description='Six fields, seconds first: "0 0 3 * * *" is every night at three.'
    )
    every: Duration | None = Field(None, description="A fixed interval in place of cron. At least 1s.")
    time_zone: str | None = Field(
        None, max_length=64, description="IANA name of the cron's time zone, such as Europe/Berlin. Absent: UTC."
    )
    type: str = Field("", max_length=256, description="The task's type: chooses the handler.")
    payload: Annotated[
        dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    ] = Field(
        default_factory=dict,
        description="The task's payload, passed as JSON. The task must fit into limits.maxTaskSize.",
    )
    priority: int = Field(5, ge=1, le=10, description="Higher goes first; which level that is, priorityLevels decides.")


class SecretReference(Model):
    name: ObjectName = Field(description="Name of a Secret in the same namespace.")


class NatsConnection(Model):
    """Which NATS server and account hold this queue, where it is not the operator's own."""

    connection_secret_ref: SecretReference = Field(
        description="Secret with url, and as needed creds, nkey, token, user, password, ca.crt, tls.crt, tls.key."
    )


class QueueSpec(Model):
    """What a queue is to be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!(has(self.ordering) && has(self.priorityLevels))", "ordering and priorityLevels exclude each other"),
            (
                "has(self.ordering) == has(oldSelf.ordering)"
                " && (!has(self.ordering) || self.ordering == oldSelf.ordering)",
                f"ordering {_IMMUTABLE}",
            ),
            (
                f"(has(self.priorityLevels) ? self.priorityLevels : {DEFAULT_PRIORITY_LEVELS})"
                f" >= (has(oldSelf.priorityLevels) ? oldSelf.priorityLevels : {DEFAULT_PRIORITY_LEVELS})",
                "priorityLevels may only grow: tasks wait on the levels that would go",
            ),
        )
    )

    delivery: Literal["WorkQueue", "Broadcast"] = Field(
        "WorkQueue",
        description="WorkQueue: each task is done once. Broadcast: every ConsumerGroup gets its own copy. Immutable.",
        json_schema_extra=rules(("self == oldSelf", f"delivery {_IMMUTABLE}")),
    )
    priority_levels: int | None = Field(
        None,
        ge=1,
        le=10,
        description="How many levels the priorities 1 (lowest) to 10 are mapped to. May only grow. Not together with "
        "ordering. Absent: 3.",
    )
    ordering: Ordering | None = Field(
        None, description="Run tasks with the same ordering key strictly in order, one at a time. Immutable."
    )
    storage: Literal["File", "Memory"] = Field(
        "File",
        description="Where JetStream keeps the tasks. Memory is lost when the NATS server restarts. Immutable.",
        json_schema_extra=rules(("self == oldSelf", f"storage {_IMMUTABLE}")),
    )
    replicas: Literal[1, 3, 5] = Field(
        1, description="On how many NATS servers each task is stored: 1, 3 or 5, and no more than the cluster has."
    )
    limits: Limits = Field({}, validate_default=True, description="How much the queue takes. All optional.")
    deduplication_window: Duration = Field(
        "2m",
        validate_default=True,
        description="How long a dedup_id keeps a second task of the same id out. Immediate and delayed tasks are "
        "counted apart. At least 100ms.",
    )
    visibility_timeout: Duration = Field(
        "30s",
        validate_default=True,
        description="How long a started task may go without a sign of life before another worker gets it. Workers give "
        "one while a handler runs, however long that takes. At least 100ms.",
    )
    retry: Retry = Field({}, validate_default=True, description="What happens to a task whose handler fails.")
    dead_letter: DeadLetter = Field({}, validate_default=True, description="Where tasks go that failed for good.")
    rate_limit: RateLimit | None = Field(
        None, description="How many tasks may start per period, over all consumers of the queue. Absent: no limit."
    )
    schedules: tuple[Schedule, ...] = Field(
        (),
        max_length=100,
        description="Recurring tasks.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    paused: bool = Field(False, description="Producers may still enqueue; nothing is delivered.")
    deletion_policy: Literal["Retain", "Delete", "DeleteIfEmpty"] = Field(
        "Retain",
        description="What happens to the streams and their tasks when the Queue is deleted. Retain keeps them: a Queue "
        "created again under that name finds its tasks. Delete removes them. DeleteIfEmpty keeps them, and the Queue, "
        "until no task is left.",
    )
    nats: NatsConnection | None = Field(None, description="Another NATS connection than the operator's own.")

    @model_validator(mode="after")
    def _levels_or_ordering(self) -> "QueueSpec":
        if self.ordering and self.priority_levels:
            raise ValueError("ordering and priorityLevels exclude each other")
        return self

    @property
    def effective_priority_levels(self) -> int:
        """The number of levels; 0 where the queue is ordered."""
        return 0 if self.ordering else self.priority_levels or DEFAULT_PRIORITY_LEVELS


class QueueTasks(Model):
    """How many tasks are where."""

    ready: int = Field(0, description="Waiting for a worker.")
    in_flight: int = Field(0, description="With a worker.")
    scheduled: int = Field(0, description="Not yet due: delayed tasks and waiting retries.")
    dead: int = Field(0, description="Dead letters.")


class QueueStatus(Model):
    """What the operator last saw of a queue."""

    observed_generation: int | None = Field(None, description="The generation the conditions speak of.")
    conditions: Conditions = Field(
        default=(), description="Ready says whether the queue in NATS is as specified, and if not, why."
    )
    stream: str | None = Field(None, description="The JetStream stream that holds the tasks.")
    priority_levels: int | None = Field(None, description="The number of levels in force.")
    dead_letter_stream: str | None = Field(None, description="The JetStream stream that holds the dead letters.")
    tasks: QueueTasks | None = Field(None, description="How many tasks are where.")
    nats: Place | None = Field(None, description="The NATS account the queue lives in.")
    oldest_task_age: str | None = Field(None, description="Age of the oldest task that is still waiting, such as 14s.")

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

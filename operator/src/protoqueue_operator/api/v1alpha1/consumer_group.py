"""The ConsumerGroup resource: its specification and status, and the rules the API server enforces."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from protoqueue_operator.core.conditions import Condition, Conditions
from protoqueue_operator.core.fields import Duration, LabelName, Model, ObjectName, rules
from protoqueue_operator.core.queue import Attempts, Multiplier, RateLimit, Retry, Share


class QueueReference(Model):
    name: LabelName = Field(description="Name of a Queue in the same namespace.")


class RetryOverrides(Model):
    """What this group does otherwise than its queue's `retry` says."""

    max_attempts: Attempts | None = Field(
        None,
        description="Attempts before the task goes to the dead letters, the first one included. Default: the Queue's.",
    )
    initial_delay: Duration | None = Field(None, description="Wait before the second attempt. Default: the Queue's.")
    multiplier: Multiplier | None = Field(
        None, description="Factor by which each further wait grows, up to maxDelay. Default: the Queue's."
    )
    max_delay: Duration | None = Field(None, description="Longest wait between two attempts. Default: the Queue's.")
    jitter: Share | None = Field(
        None,
        description="Share of the wait by which it is spread at random to both sides: 0.2 is ±20%. "
        "Default: the Queue's.",
    )

    def over(self, retry: Retry) -> Retry:
        """What is in force where the queue's is `retry`."""
        return retry.model_copy(update={name: value for name, value in self if value is not None})


class GroupRateLimit(RateLimit):
    """A limit of this group, beside the queue's own."""

    scope: Literal["Group", "Worker"] = Field(
        "Group", description="Group: all workers of the group share the limit. Worker: each worker process has its own."
    )


class ScaleTarget(Model):
    """An existing object with a scale subresource; only its size is changed."""

    api_version: str = Field(
        "apps/v1",
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$",
        description="Group and version of the object, such as apps/v1.",
    )
    kind: str = Field(
        "Deployment",
        max_length=63,
        pattern="^[A-Z][A-Za-z0-9]*$",
        description="Kind of the object, such as Deployment or StatefulSet: anything with a scale subresource that "
        "the operator may read and write.",
    )
    name: ObjectName = Field(description="Name of the object in the same namespace.")


class WorkerSource(Model):
    """Who works: a Deployment the operator owns, or something that exists already."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.template) != has(self.scaleTargetRef)", "worker has exactly one of template and scaleTargetRef")
        )
    )

    template: (
        Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
        | None
    ) = Field(
        None,
        description="Pod template of a Deployment that the operator creates under the group's name and "
        "owns. The containers get PROTOQUEUE_NATS_URL, PROTOQUEUE_QUEUE and PROTOQUEUE_GROUP in their environment.",
    )
    scale_target_ref: ScaleTarget | None = Field(
        None, description="An existing object that is scaled, and otherwise left alone."
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "WorkerSource":
        if (self.template is None) == (self.scale_target_ref is None):
            raise ValueError("exactly one of template and scaleTargetRef is needed")
        return self


class AutoscaleTarget(Model):
    """What the size is measured by."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.tasksPerWorker) != has(self.drainTime)",
                "target has exactly one of tasksPerWorker and drainTime",
            )
        )
    )

    tasks_per_worker: int | None = Field(None, ge=1, description="One worker for each so many tasks outstanding.")
    drain_time: Duration | None = Field(
        None, description="As many workers as empty the queue within this time at the speed measured. At least 100ms."
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "AutoscaleTarget":
        if (self.tasks_per_worker is None) == (self.drain_time is None):
            raise ValueError("exactly one of tasksPerWorker and drainTime is needed")
        return self


class Autoscale(Model):
    """How the number of workers follows the backlog."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.minReplicas <= self.maxReplicas", "minReplicas exceeds maxReplicas"))
    )

    min_replicas: int = Field(0, ge=0, description="Fewest workers; 0 lets the group sleep while its queue is empty.")
    max_replicas: int = Field(10, ge=1, description="Most workers.")
    target: AutoscaleTarget = Field(
        {"tasksPerWorker": 100}, validate_default=True, description="What the size is measured by."
    )
    scale_down_delay: Duration = Field(
        "60s", validate_default=True, description="How long fewer workers must suffice before some go. 0s: at once."
    )
    idle_delay: Duration = Field(
        "120s", validate_default=True, description="How long everything must stay empty before the last worker goes."
    )

    @model_validator(mode="after")
    def _ordered_bounds(self) -> "Autoscale":
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas exceeds maxReplicas")
        return self


class ConsumerGroupSpec(Model):
    """Who consumes a queue, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.priorityWeights) || self.priorityPolicy == 'Weighted'",
                "priorityWeights goes with priorityPolicy Weighted only",
            ),
        )
    )

    queue_ref: QueueReference = Field(
        description="The queue this group consumes. Immutable.",
        json_schema_extra=rules(
            ("self.name == oldSelf.name", "queueRef is immutable: create a ConsumerGroup with another name")
        ),
    )
    priority_policy: Literal["Weighted", "Strict"] = Field(
        "Weighted",
        description="Weighted: every level gets its share, none starves. Strict: a higher level always goes first.",
    )
    priority_weights: (
        Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=10)] | None
    ) = Field(
        None,
        description="Weight of each level, lowest first, as many as the queue has levels. Absent: 1, 2, 4, and so on.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    max_in_flight: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Most tasks with workers of this group at the same time, per priority level.",
    )
    visibility_timeout: Duration | None = Field(
        None,
        description="How long a started task may go without a sign of life before another worker gets it. At least "
        "100ms. Default: the Queue's.",
    )
    retry: RetryOverrides | None = Field(
        None, description="What of the queue's retry this group does otherwise; each field on its own."
    )
    rate_limit: GroupRateLimit | None = Field(None, description="A limit beside the queue's own. Absent: none.")
    exactly_once: bool = Field(
        False,
        description="Remember finished tasks and confirm each acknowledgement: a redelivery does not run a task again.",
    )
    start_from: Literal["New", "All"] = Field(
        "New", description="Broadcast only: what a group created later gets. Read when the group is created."
    )
    paused: bool = Field(False, description="This group gets nothing; other groups go on.")
    worker: WorkerSource | None = Field(
        None, description="Who works: template or scaleTargetRef. Absent: workers run elsewhere."
    )
    replicas: int = Field(
        1,
        ge=0,
        description="Number of workers while autoscale is absent; without effect beside it. Written by kubectl scale.",
    )
    autoscale: Autoscale | None = Field(None, description="Let the number of workers follow the backlog.")


class GroupTasks(Model):
    """How many of the queue's tasks wait for this group, and are with it."""

    ready: int = Field(0, description="Waiting for a worker of this group.")
    in_flight: int = Field(0, description="With a worker of this group.")


class ConsumerGroupStatus(Model):
    """What the operator last saw of a group."""

    observed_generation: int | None = Field(None, description="The generation the conditions speak of.")
    conditions: Conditions = Field(
        default=(),
        description="Ready: whether consumers and workers are as specified. Scaling: why the size is what it is.",
    )
    replicas: int | None = Field(None, description="Workers observed.")
    desired_replicas: int | None = Field(None, description="Workers wanted.")
    selector: str | None = Field(None, description="Label selector of the worker pods, for the scale subresource.")
    tasks: GroupTasks | None = Field(None, description="How many tasks wait for this group, and are with it.")

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

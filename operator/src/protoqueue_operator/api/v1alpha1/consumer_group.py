"""The ConsumerGroup resource: its specification and status, and the rules the API server enforces."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from protoqueue_operator.api.v1alpha1.conditions import MOST_CONDITIONS, Condition, Conditions
from protoqueue_operator.api.v1alpha1.fields import AtLeast, Duration, Model, Moment, ObjectName, rules
from protoqueue_operator.api.v1alpha1.pod_template import PodTemplateField
from protoqueue_operator.api.v1alpha1.queue import (
    Attempts,
    Multiplier,
    QueueReference,
    RateLimit,
    Retry,
    SecretReference,
    Share,
)


class RetryOverrides(Model):
    """Overrides of the Queue's `retry` for this group."""

    max_attempts: Attempts | None = Field(
        None,
        description="Maximum number of attempts, the first included, before the task is dead-lettered. Default: the "
        "Queue's.",
    )
    initial_delay: Duration | None = Field(None, description="Delay before the second attempt. Default: the Queue's.")
    multiplier: Multiplier | None = Field(
        None,
        description="Factor by which the delay grows with each further attempt, up to maxDelay. Default: the Queue's.",
    )
    max_delay: Duration | None = Field(None, description="Maximum delay between two attempts. Default: the Queue's.")
    jitter: Share | None = Field(
        None,
        description="Fraction by which each delay is randomized: 0.2 is ±20%. Default: the Queue's.",
    )
    max_crashes: Attempts | None = Field(
        None,
        description="Maximum number of times a worker may crash while running the task before it is dead-lettered. "
        "Default: the Queue's.",
    )
    rollout_grace: Duration | None = Field(
        None,
        description="How long a task without a matching handler waits for a newer worker. Default: the Queue's.",
    )

    def over(self, retry: Retry) -> Retry:
        """What is in force where the queue's is `retry`."""
        return retry.model_copy(update={name: value for name, value in self if value is not None})


class GroupRateLimit(RateLimit):
    """Rate limit of this group, in addition to the Queue's."""

    scope: Literal["Group", "Worker"] = Field(
        "Group",
        description="Group: all workers of the group share the limit. Worker: the limit applies to each worker "
        "process.",
    )


class ScaleTarget(Model):
    """An existing object with a scale subresource. Only its number of replicas is changed."""

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
        description="Kind of the object, such as Deployment or StatefulSet: anything with a scale subresource that the "
        "operator may read and write.",
    )
    name: ObjectName = Field(description="Name of the object in the same namespace.")
    shared: bool = Field(
        False,
        description="Whether other groups that say so too scale the object as well, as where its workers serve the "
        "queues of all: it then has the largest size that any of them wants.",
    )


class WorkerSource(Model):
    """The workers: a Deployment that the operator owns, or an existing object to scale."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.template) != has(self.scaleTargetRef)", "worker has exactly one of template and scaleTargetRef"),
            ("!has(self.natsSecretRef) || has(self.template)", "natsSecretRef needs template"),
        )
    )

    template: PodTemplateField | None = Field(
        None,
        description="Pod template of a Deployment that the operator creates under the group's name and owns. The "
        "containers get PROTOQUEUE_NATS_URL, PROTOQUEUE_QUEUE and PROTOQUEUE_GROUP in their environment. At most 256 "
        "KiB as JSON.",
    )
    scale_target_ref: ScaleTarget | None = Field(
        None, description="Existing object to scale. Nothing else of it is changed."
    )
    nats_secret_ref: SecretReference | None = Field(
        None,
        description="Secret with the workers' NATS credentials, mounted into the containers of the template instead of "
        "the Queue's connection Secret. Keys creds, nkey, token, user, password, inboxPrefix, ca.crt, tls.crt, "
        "tls.key; the operator does not read it.",
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "WorkerSource":
        if (self.template is None) == (self.scale_target_ref is None):
            raise ValueError("exactly one of template and scaleTargetRef is needed")
        if self.nats_secret_ref and self.template is None:
            raise ValueError("natsSecretRef needs template")
        return self


class AutoscaleTarget(Model):
    """The metric to scale on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.tasksPerWorker) ? 1 : 0) + (has(self.drainTime) ? 1 : 0) + (has(self.maxWait) ? 1 : 0) == 1",
                "target has exactly one of tasksPerWorker, drainTime and maxWait",
            )
        )
    )

    tasks_per_worker: int | None = Field(
        None, ge=1, description="Target number of outstanding tasks (waiting or in flight) per worker."
    )
    drain_time: Moment | None = Field(
        None, description="Target time to work off the backlog at the measured throughput. At least 100ms."
    )
    max_wait: Moment | None = Field(
        None,
        description="Target time within which a task is started once it is due, as well as the measured throughput "
        "allows: workers that have to be started first take as long as they take. At least 100ms.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "AutoscaleTarget":
        if [self.tasks_per_worker, self.drain_time, self.max_wait].count(None) != 2:
            raise ValueError("exactly one of tasksPerWorker, drainTime and maxWait is needed")
        return self


class ScaleUpLimit(Model):
    """Maximum number of workers added per period."""

    workers: int = Field(ge=1, description="Number of workers per period.")
    per: Annotated[Duration, AtLeast(timedelta(seconds=1))] = Field(
        "1m", validate_default=True, description="The period. At least 1s."
    )


class Fallback(Model):
    """Number of workers while the backlog is unknown."""

    replicas: int = Field(
        ge=1, description="Number of workers there are to be at least; a group that has more keeps them."
    )
    after: Duration = Field("60s", validate_default=True, description="How long the backlog must have been unknown.")


class Autoscale(Model):
    """Scaling of the workers by the backlog."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.minReplicas <= self.maxReplicas", "minReplicas exceeds maxReplicas"),
            (
                "!has(self.fallback) || self.fallback.replicas <= self.maxReplicas",
                "fallback.replicas exceeds maxReplicas",
            ),
        )
    )

    min_replicas: int = Field(
        0, ge=0, description="Minimum number of workers. 0 scales to zero while the queue is empty."
    )
    max_replicas: int = Field(10, ge=1, description="Maximum number of workers.")
    target: AutoscaleTarget = Field(
        {"tasksPerWorker": 100}, validate_default=True, description="The metric to scale on."
    )
    scale_down_delay: Duration = Field(
        "60s",
        validate_default=True,
        description="How long fewer workers must be sufficient before scaling down. 0s: at once.",
    )
    idle_delay: Duration = Field(
        "120s", validate_default=True, description="How long the queue must be empty before scaling to zero."
    )
    activation_tasks: int = Field(
        1,
        ge=1,
        description="Number of outstanding tasks that starts the first worker of a group at zero. Fewer wait there "
        "until so many have come. With minReplicas 1 or more it has no effect.",
    )
    scale_up_limit: ScaleUpLimit | None = Field(
        None,
        description="Maximum number of workers added per period; up to minReplicas all come at once. Absent: no limit.",
    )
    fallback: Fallback | None = Field(
        None,
        description="Number of workers while the backlog is unknown, as when NATS does not answer the operator. "
        "Absent: the number of workers is kept.",
    )

    @model_validator(mode="after")
    def _ordered_bounds(self) -> "Autoscale":
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas exceeds maxReplicas")
        if self.fallback and self.fallback.replicas > self.max_replicas:
            raise ValueError("fallback.replicas exceeds maxReplicas")
        return self


_MAX_IN_FLIGHT = 1000


class ConsumerGroupSpec(Model):
    """Desired state of the consumer group."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.priorityWeights) || self.priorityPolicy == 'Weighted'",
                "priorityWeights goes with priorityPolicy Weighted only",
            ),
        )
    )

    queue_ref: QueueReference = Field(
        description="The Queue to consume. Immutable.",
        json_schema_extra=rules(
            ("self.name == oldSelf.name", "queueRef is immutable: create a ConsumerGroup with another name")
        ),
    )
    priority_policy: Literal["Weighted", "Strict"] = Field(
        "Weighted",
        description="Weighted: each level gets a share of the workers by its weight. Strict: higher levels always go "
        "first.",
    )
    priority_weights: (
        Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=10)] | None
    ) = Field(
        None,
        description="Weight of each level, lowest first, as many as the queue has levels. Absent: 1, 2, 4, and so on.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    max_in_flight: int = Field(
        _MAX_IN_FLIGHT,
        ge=1,
        le=1_000_000,
        description="Maximum number of tasks in flight in this group, per priority level: with three levels, three "
        "times as many. In a fair queue it counts per lane, and in an ordered queue it is one per partition. While it "
        "is the default, a queue with limits counts new tasks and those that have come due apart.",
    )
    visibility_timeout: Moment | None = Field(
        None,
        description="How long a started task is hidden from other workers without a heartbeat from its worker. At "
        "least 100ms. Default: the Queue's.",
    )
    retry: RetryOverrides | None = Field(None, description="Overrides of the Queue's retry, field by field.")
    rate_limit: GroupRateLimit | None = Field(
        None, description="Rate limit of this group, in addition to the Queue's. Absent: none."
    )
    exactly_once: bool = Field(
        False,
        description="Exactly-once processing: finished tasks are remembered and each acknowledgement is confirmed, so "
        "that a redelivered task does not run again.",
    )
    start_from: Literal["New", "All"] = Field(
        "New",
        description="Broadcast only: where a new group starts: with new tasks only, or with all that are still stored. "
        "Immutable: it is read when the group is created.",
        json_schema_extra=rules(
            ("self == oldSelf", "startFrom is immutable: create a ConsumerGroup with another name")
        ),
    )
    paused: bool = Field(False, description="Stop delivery to this group. Other groups are not affected.")
    worker: WorkerSource | None = Field(
        None, description="The workers: template or scaleTargetRef. Absent: workers run elsewhere."
    )
    replicas: int | None = Field(
        None,
        ge=0,
        description="Number of workers. Ignored if autoscale is set. Written by kubectl scale. Absent: the current "
        "number is kept, and a new Deployment starts with one worker.",
    )
    autoscale: Autoscale | None = Field(None, description="Scale the workers by the backlog.")

    @property
    def states_max_in_flight(self) -> bool:
        """Whether the number is anybody's wish; the API server writes the default into each object."""
        return self.max_in_flight != _MAX_IN_FLIGHT


class GroupTasks(Model):
    """Number of tasks of this group by state."""

    waiting: int = Field(0, description="Tasks waiting for a worker of this group.")
    in_flight: int = Field(0, description="Tasks in flight: started by a worker of this group and not yet finished.")


class ConsumerGroupStatus(Model):
    """Observed state of the consumer group."""

    observed_generation: int | None = Field(
        None, description="The generation last reconciled. -1 until the operator has seen the resource."
    )
    conditions: Conditions = Field(
        default=(),
        max_length=MOST_CONDITIONS,
        description="Ready: consumers and workers are as specified. Scaling: the reason for the number of workers. "
        "Contended: another client writes the number of workers.",
    )
    replicas: int | None = Field(None, description="Number of worker pods, ready or not.")
    available_replicas: int | None = Field(
        None,
        description="Number of available workers. Absent: unknown, as for a scaleTargetRef without a pod selector.",
    )
    desired_replicas: int | None = Field(None, description="Desired number of workers.")
    selector: str | None = Field(
        None, max_length=1024, description="Label selector of the worker pods, for the scale subresource."
    )
    tasks: GroupTasks | None = Field(None, description="Number of tasks of this group by state.")

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

"""The Redrive resource: its specification and status, and the rules the API server enforces."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from protoqueue.outcomes import Reason
from protoqueue_operator.api.v1alpha1.conditions import MOST_CONDITIONS, Condition, Conditions
from protoqueue_operator.api.v1alpha1.fields import AtLeast, Duration, LabelName, Model, rules

_IMMUTABLE = "is immutable: create another Redrive"
_MOST_LISTED = 100

Name = Annotated[str, Field(max_length=256)]
Time = Annotated[datetime, AfterValidator(lambda time: time if time.tzinfo else time.replace(tzinfo=UTC))]


def _fixed(field: str) -> tuple[str, str]:
    """The rule of a field that may be absent, and may neither change, come nor go."""
    was, now = f"oldSelf.{field}", f"self.{field}"
    return f"has({now}) == has({was}) && (!has({now}) || {now} == {was})", f"{field} {_IMMUTABLE}"


class RedriveQueue(Model):
    name: LabelName = Field(description="Name of a Queue in the same namespace.")


class RedriveFilter(Model):
    """Which dead letters are moved. A letter has to match every field that is stated, and one item of a list."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.failedAfter) || !has(self.failedBefore) || self.failedAfter < self.failedBefore",
                "failedAfter is not before failedBefore: no dead letter would match",
            )
        )
    )

    reasons: Annotated[tuple[Reason, ...], Field(max_length=len(Reason))] | None = Field(
        None,
        description=f"Why the task was given up: {', '.join(Reason)}. Absent: any reason.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    types: Annotated[tuple[Name, ...], Field(max_length=_MOST_LISTED)] | None = Field(
        None,
        description="Types of tasks, as the producers stated them. Absent: any type.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    error_types: Annotated[tuple[Name, ...], Field(max_length=_MOST_LISTED)] | None = Field(
        None,
        description="Types of the last error, such as ConnectionError. Absent: any error.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    failed_after: Time | None = Field(None, description="Only tasks whose last attempt failed at this time or later.")
    failed_before: Time | None = Field(None, description="Only tasks whose last attempt failed before this time.")

    @model_validator(mode="after")
    def _some_time(self) -> "RedriveFilter":
        if self.failed_after and self.failed_before and self.failed_after >= self.failed_before:
            raise ValueError("failedAfter is not before failedBefore: no dead letter would match")
        return self


class RedriveRate(Model):
    """How many dead letters are moved per period, at an even pace."""

    tasks: int = Field(ge=1, le=1_000_000, description="Number of tasks per period.")
    per: Annotated[Duration, AtLeast(timedelta(milliseconds=1))] = Field(
        "1s", validate_default=True, description="The period. At least 1ms."
    )

    @property
    def per_second(self) -> float:
        return self.tasks / self.per.total_seconds()


class RedriveSpec(Model):
    """Which dead letters are put back into their queue, and how fast."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _fixed("group"),
            _fixed("filter"),
            _fixed("limit"),
            ("self.dryRun == oldSelf.dryRun", f"dryRun {_IMMUTABLE}"),
        )
    )

    queue_ref: RedriveQueue = Field(
        description="The Queue whose dead letters are moved. Immutable.",
        json_schema_extra=rules(("self.name == oldSelf.name", f"queueRef {_IMMUTABLE}")),
    )
    group: LabelName | None = Field(
        None, description="Only dead letters of this ConsumerGroup. Absent: of every group. Immutable."
    )
    filter: RedriveFilter | None = Field(
        None,
        description="Which dead letters are moved. A letter has to match every field that is stated, and one item of a "
        "list. Absent: all. Those that are given up later are never moved. Immutable.",
    )
    rate: RedriveRate | None = Field(
        None,
        description="How many dead letters are moved per period, at an even pace. Can be changed while it runs. "
        "Absent: as fast as NATS takes them.",
    )
    limit: int | None = Field(
        None,
        ge=1,
        le=2**53,
        description="Maximum number of dead letters to move, the oldest first. Absent: no limit. Immutable.",
    )
    dry_run: bool = Field(
        False, description="Count the dead letters that match (status.matched), and move none. Immutable."
    )
    suspend: bool = Field(False, description="Move nothing while it is true. What was moved stays moved.")
    ttl_after_finished: Duration | None = Field(
        None, description="Delete the Redrive this long after it has finished. Absent: it is kept."
    )


class RedriveStatus(Model):
    """Observed state of the Redrive."""

    observed_generation: int | None = Field(
        None, description="The generation last reconciled. -1 until the operator has seen the resource."
    )
    conditions: Conditions = Field(
        default=(),
        max_length=MOST_CONDITIONS,
        description="Progressing: whether dead letters are being counted or moved, and if not, what it waits for. "
        "Complete: every dead letter that matches was considered. Failed: some could not be moved, or the Redrive "
        "cannot run.",
    )
    matched: int | None = Field(None, description="Dead letters that match, as counted when the Redrive began.")
    moved: int | None = Field(None, description="Dead letters that are back in the queue.")
    remaining: int | None = Field(None, description="Dead letters that are still to be moved.")
    failed: int | None = Field(
        None, description="Dead letters that could not be moved, and are kept: the condition Failed says why."
    )
    start_time: datetime | None = Field(None, description="When the Redrive began to count.")
    completion_time: datetime | None = Field(None, description="When the Redrive finished.")
    position: int | None = Field(
        None, description="Sequence, in the dead letters' stream, of the last dead letter that was considered."
    )
    last_sequence: int | None = Field(
        None, description="Sequence of the newest dead letter when the Redrive began. Later ones are not considered."
    )

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def is_finished(self) -> bool:
        return self.completion_time is not None

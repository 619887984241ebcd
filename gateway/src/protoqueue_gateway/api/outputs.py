"""What answers say: for the OpenAPI document, and for whoever reads this."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Output(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class Stored(Output):
    """The queue has the task; `duplicate`: it had one already, whose `id` this is, and stored nothing."""

    id: str
    duplicate: bool
    matched: Literal["dedupId", "unique"] | None = Field(None, description="Of a duplicate: what it has in common.")
    replaced: str | None = Field(None, description="The id of the task of its replace key that was not yet due.")


class StoredAll(Output):
    messages: list[Stored]


class DeadLetterInfo(Output):
    """Why a message is a dead letter of another queue."""

    reason: str
    error: str
    error_type: str
    traceback: str
    attempts: int
    failed_at: datetime | None
    worker: str
    queue: str = Field(description="The queue that gave it up, as namespace/name.")
    group: str
    previous: "DeadLetterInfo | None" = Field(
        None, description="What it was before, where the letter of one queue became a letter of the next."
    )


class Message(Output):
    """A task, lent until `leasedUntil`."""

    id: str
    receipt: str
    payload: Any = Field(None, description="Where it is JSON.")
    payload_base64: str = Field("", description="Where the payload is not JSON.")
    content_type: str = Field("", description="Of payloadBase64.")
    type: str
    attempt: int = Field(description="From 1 on.")
    max_attempts: int = Field(description="A dead letter if attempt is this one and fails.")
    priority: int
    enqueued_at: datetime | None
    metadata: dict[str, Any]
    ordering_key: str | None
    dead_letter: DeadLetterInfo | None = Field(description="Of a dead letter queue: why it was given up, and where.")
    leased_until: datetime
    group: str


class Messages(Output):
    messages: list[Message]


class Settled(Output):
    """What became of one receipt: where not `ok`, status, code and detail are those of a problem."""

    receipt: str
    ok: bool
    status: int = 0
    code: str = ""
    detail: str = ""


class SettledAll(Output):
    results: list[Settled]


class Counts(Output):
    """How many tasks are where."""

    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    oldest_age_seconds: float | None = Field(description="Age of the oldest task that waits or is in flight.")


class Group(Output):
    name: str
    waiting: int
    in_flight: int
    paused: bool
    throttled_until: datetime | None = Field(description="Until when a handler keeps the group from starting tasks.")
    workers: int | None = Field(description="Available workers; null where the group has none of ours.")


class Condition(Output):
    type: str
    status: str
    reason: str
    message: str


class RateLimitView(Output):
    requests: int
    per: str


class ConfigView(Output):
    max_retries: int
    visibility_timeout: str
    dead_letter_queue: str | None
    rate_limit: RateLimitView | None


class Queue(Output):
    """A queue; `counts` is null while NATS does not know it."""

    name: str
    namespace: str
    ready: bool
    reason: str
    message: str
    paused: bool
    counts: Counts | None
    groups: list[Group]
    conditions: list[Condition]
    config: ConfigView
    spec: dict[str, Any]
    created_at: datetime


class QueuePage(Output):
    queues: list[Queue]
    cursor: str | None = Field(description="Of the next page; null on the last.")


class GroupCounts(Output):
    waiting: int
    in_flight: int
    paused: bool
    throttled_until: datetime | None = Field(description="Until when a handler keeps the group from starting tasks.")


class Stats(Counts):
    paused: bool
    groups: dict[str, GroupCounts]


class Sample(Output):
    """A queue within one step of time. Counts of tasks are the highest within it."""

    at: datetime = Field(description="When the step begins.")
    waiting: int
    in_flight: int
    scheduled: int
    dead: int
    arrivals: int = Field(description="Tasks that became due for a worker, retries among them.")
    completions: int = Field(description="Attempts that ended.")
    oldest_age_seconds: int | None = Field(description="The highest age of the oldest task that waited or ran.")
    workers_desired: int | None = Field(description="Over all groups, at the end; null where the operator runs none.")
    workers_available: int | None


class WorkerChange(Output):
    """The operator has changed the number of a group's workers, and why."""

    at: datetime
    group: str
    before: int
    after: int
    reason: str
    message: str


class Samples(Output):
    step_seconds: int = Field(description="Ten for the last hour; 300 where `since` lies further back.")
    samples: list[Sample]
    changes: list[WorkerChange]


class Purged(Output):
    purged: int


class DeadLetter(Output):
    """A task that was given up."""

    id: str
    sequence: int
    type: str
    payload: Any = Field(None, description="Where it is JSON.")
    payload_base64: str = Field("", description="Where the payload is not JSON.")
    content_type: str = ""
    metadata: dict[str, Any]
    priority: int
    ordering_key: str | None
    enqueued_at: datetime | None
    reason: str
    error: str
    error_type: str
    traceback: str
    attempts: int
    max_attempts: int | None = Field(description="How many it might have had; null where the letter does not say.")
    group: str
    worker: str
    failed_at: datetime | None
    redrives: int


class TaskSummary(Output):
    """Where a task is, or how it ended."""

    id: str
    state: str = Field(
        description="Scheduled, Waiting, Running, Retrying, Done, Dead, Cancelled, Expired or Replaced.",
    )
    type: str
    attempts: int = Field(description="How many were begun.")
    group: str
    worker: str = Field(description="That runs it, or ran it last.")
    priority: int
    metadata: dict[str, Any]
    enqueued_at: datetime | None
    due_at: datetime | None = Field(description="Of what is not yet due.")
    started_at: datetime | None
    finished_at: datetime | None
    reason: str = Field(description="Why it is a dead letter, such as MaxAttempts.")
    error: str = Field(description="Of the last attempt that failed.")
    error_type: str


class TaskPage(Output):
    tasks: list[TaskSummary]
    cursor: str | None = Field(description="Of the next page; null on the last, and of tasks that have not ended.")


class RecordedValue(Output):
    """A payload or a result: one of `json`, `base64` and `omitted` is there."""

    json_value: Any = Field(None, alias="json", description="Where it is JSON.")
    base64: str = Field("", description="Where it is not.")
    content_type: str = ""
    omitted: str = Field("", description="Why it is not kept.")


class Attempt(Output):
    """One attempt that ended."""

    attempt: int
    outcome: str = Field(
        description="Done, Retried, Snoozed, Throttled, Dead, Cancelled, Expired, Redriven or Replaced."
    )
    group: str
    worker: str
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None = Field(description="When the next attempt is due.")
    reason: str
    error: str
    error_type: str
    traceback: str


class TaskStatus(TaskSummary):
    """With its attempts, where the Queue has spec.history."""

    traceback: str
    result: RecordedValue | None = Field(description="Of a task that is done and whose handler returned something.")
    payload: RecordedValue | None = Field(description="Where the history keeps payloads.")
    records: list[Attempt] = Field(description="Oldest first.")


class DeadLetterPage(Output):
    dead_letters: list[DeadLetter]
    cursor: str | None = Field(description="Of the next page; null on the last.")


class RedriveProgress(Output):
    """Dead letters on their way back. Counts are null until they were counted."""

    name: str
    state: str = Field(
        description="What is done, waited for, or how it has ended: Pending, Counting, Redriving, Suspended, "
        "QueueFull, Completed, CompletedWithFailures, DryRun, or another reason of the Redrive's conditions."
    )
    message: str = Field(description="The same for people.")
    finished: bool
    matched: int | None = Field(description="Dead letters that match, as counted at the beginning.")
    moved: int | None = Field(description="Those that are back in the queue.")
    remaining: int | None = Field(description="Those that are still to be moved.")
    failed: int | None = Field(description="Those that could not be moved, and are kept.")
    limit: int | None
    suspended: bool
    dry_run: bool
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class RedriveList(Output):
    redrives: list[RedriveProgress] = Field(description="The newest first.")


class FieldProblem(Output):
    pointer: str = Field("", description="JSON pointer into the body.")
    parameter: str = Field("", description="Name of the query parameter.")
    detail: str


class ProblemBody(Output):
    """RFC 9457; `code` is the word to switch on."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    errors: list[FieldProblem] = Field([], description="What is wrong, and where.")


class Health(Output):
    status: str
    checks: dict[str, bool] = Field({}, description="What it depends on.")

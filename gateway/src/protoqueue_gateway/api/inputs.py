"""What requests may say."""

import base64
import binascii
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    TypeAdapter,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from protoqueue import NewTask, Reason, Retries
from protoqueue.protocol.durations import PATTERN, format_duration
from protoqueue.protocol.payloads import BYTES, Encoded
from protoqueue_gateway.api.bodies import Duration, Input
from protoqueue_gateway.service.redrives import NewRedrive

LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_MOMENT: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
_DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)
_PERIODS = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d"}
MAX_WAIT_S = 60

Label = Annotated[str, Field(pattern=LABEL, max_length=63)]


def _moment_or_duration(value: Any) -> datetime | timedelta:
    if isinstance(value, str) and "T" in value.upper():
        try:
            return _MOMENT.validate_python(value)
        except ValueError:
            raise ValueError("is a time with its zone such as 2027-01-31T03:00:00Z, or a duration") from None
    return _DURATION.validate_python(value)


def _is_period(value: Any) -> bool:
    return isinstance(value, str) and value in _PERIODS


def _whole(value: Any) -> Any:
    """`3.0` is a whole number to JSON, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]

MomentOrDuration = Annotated[
    datetime | timedelta,
    BeforeValidator(_moment_or_duration),
    WithJsonSchema({
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {"type": "number", "minimum": 0, "maximum": 3_155_760_000},
            {"type": "string", "pattern": PATTERN, "maxLength": 32},
        ],
        "description": "A time (RFC 3339), or how long from now: seconds or text such as 30s.",
    }),
]  # fmt: skip


def _bounded(wait: timedelta) -> timedelta:
    if wait.total_seconds() > MAX_WAIT_S:
        raise ValueError(f"is at most {MAX_WAIT_S} seconds: ask again when they are over")
    return wait


Wait = Annotated[
    Duration,
    AfterValidator(_bounded),
    WithJsonSchema({
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
            {"type": "string", "pattern": "^([0-9]|[1-5][0-9])s$"},
        ]
    }),
]  # fmt: skip


class MessageRetry(Input):
    """How often and when this task is tried; what is absent its handler, its group and its queue say."""

    max_attempts: Whole | None = Field(None, ge=1, le=1000, description="The first included.")
    initial_delay: Duration | None = Field(None, description="Before the second attempt.")
    multiplier: float | None = Field(None, ge=1, le=100, description="By which each further delay grows.")
    max_delay: Duration | None = Field(None, description="Between two attempts at most.")
    jitter: float | None = Field(None, ge=0, le=1, description="Share by which each delay is spread.")

    def retries(self) -> Retries:
        return Retries(self.max_attempts, self.initial_delay, self.multiplier, self.max_delay, self.jitter)


class NewMessage(Input):
    """A task to be stored: `payload`, any JSON, or `payloadBase64` with `contentType`."""

    payload: Any = Field(None, description="Any JSON.")
    payload_base64: str | None = Field(None, description="Bytes in base64, in place of payload.")
    content_type: str | None = Field(
        None, max_length=256, pattern="^[ -~]+$", description="Of payloadBase64; application/octet-stream."
    )
    type: str = Field("", max_length=256, description="The task's type: chooses the handler.")
    priority: Whole = Field(5, ge=1, le=10, description="1 (lowest) to 10.")
    delay: Duration | None = Field(None, description="How long until it is due.")
    at: AwareDatetime | None = Field(None, description="When it is due, in place of delay.")
    expires: MomentOrDuration | None = Field(None, description="When it is not to be started any more.")
    dedup_id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="A second message of it is not stored within the queue's window.",
    )
    ordering_key: str = Field("", max_length=1024, description="Of an ordered queue: tasks of one key run in order.")
    fairness_key: str = Field(
        "", max_length=256, description="Of a fair queue: keys that have tasks waiting share the workers evenly."
    )
    metadata: dict[str, Any] | None = Field(None, description="Any JSON object that goes with the task.")
    retry: MessageRetry | None = Field(None, description="How often and when it is tried.")
    unique: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="At most one message of this key waits, is scheduled or runs; a second one is not stored.",
    )
    unique_until: Literal["end", "start"] = Field("end", description="Until when it keeps its key from others.")
    replace: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="It takes the place of the message of this key that is not yet due, which never runs.",
    )

    @model_validator(mode="after")
    def _one_payload(self) -> "NewMessage":
        has_payload, has_bytes = "payload" in self.model_fields_set, self.payload_base64 is not None
        if has_payload == has_bytes:
            raise ValueError("a message has either payload or payloadBase64")
        if self.content_type is not None and not has_bytes:
            raise ValueError("contentType goes with payloadBase64; a payload is JSON")
        if has_bytes:
            try:
                base64.b64decode(self.payload_base64 or "", validate=True)
            except (binascii.Error, ValueError):
                raise ValueError("payloadBase64 is not base64") from None
        if self.delay is not None and self.at is not None:
            raise ValueError("a message has delay or at, not both")
        return self

    def task(self, dedup_id: str | None) -> NewTask:
        """As the SDK takes it; `dedup_id` where the message has none of its own."""
        payload = self.payload
        if self.payload_base64 is not None:
            payload = Encoded(base64.b64decode(self.payload_base64), self.content_type or BYTES)
        delay = None if self.delay is None else self.delay.total_seconds()
        return NewTask(
            payload, self.type, self.priority, delay, self.at, self.expires, self.dedup_id or dedup_id,
            self.ordering_key, self.metadata, None if self.retry is None else self.retry.retries(), self.unique,
            self.unique_until, self.fairness_key, self.replace,
        )  # fmt: skip


class NewMessages(Input):
    """Tasks to be stored together: all or none."""

    messages: list[NewMessage] = Field(min_length=1, description="At most MAX_BATCH_SIZE, 100 unless configured.")


class ReceiveQuery(Input):
    max_messages: Whole = Field(10, ge=1, le=100, description="How many messages at most.")
    wait: Annotated[Wait, Field(description="How long to wait for the first, at most 60 seconds.")] = timedelta()
    group: Label | None = Field(None, description="The consumer group; may be left out where the queue has one.")


class Nack(Input):
    """The attempt failed."""

    delay: Duration | None = Field(None, description="When the next attempt is due; absent: after the queue's backoff.")


class Reject(Input):
    """To the dead letters, now."""

    reason: str = Field("", max_length=1000, description="Why, kept with the dead letter.")


class Throttle(Input):
    """What the task calls is busy."""

    delay: Duration = Field(description="For how long the group gets no messages, at most 12 hours: the Retry-After.")
    reason: str = Field("", max_length=200, description="Shown to whoever looks at the group.")


class Extend(Input):
    """Hold it for longer."""

    seconds: float | None = Field(
        None, ge=0, le=43_200, description="From now on; absent, or less: the group's visibilityTimeout."
    )


class AckBatch(Input):
    receipts: list[Annotated[str, Field(max_length=4096)]] = Field(
        min_length=1, description="At most MAX_BATCH_SIZE, 100 unless configured."
    )


class RateLimit(Input):
    """How many tasks may start per period."""

    requests: Whole = Field(ge=1, le=2**31 - 1, description="Tasks that may start per period.")
    per: Annotated[
        str | timedelta,
        BeforeValidator(lambda value: value if _is_period(value) else _DURATION.validate_python(value)),
        WithJsonSchema({
            "anyOf": [
                {"enum": list(_PERIODS)},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 3_155_760_000},
                {"type": "string", "pattern": PATTERN, "maxLength": 32},
            ],
            "description": "second, minute, hour, day, or a duration.",
        }),
    ] = "second"  # fmt: skip

    def spec(self) -> dict[str, Any]:
        per = _PERIODS[self.per] if isinstance(self.per, str) else format_duration(self.per)
        return {"tasks": self.requests, "per": per}


class QueueConfig(Input):
    """The short form of a queue's settings."""

    max_retries: Whole | None = Field(None, ge=0, le=999, description="Attempts after the first; 3 unless configured.")
    visibility_timeout: Duration | None = Field(None, description="How long a message is lent; 30s unless configured.")
    dead_letter_queue: Label | None = Field(
        None,
        description="The queue that gets what failed for good, as messages with deadLetter; made, with a group, where "
        "there is none.",
    )
    rate_limit: RateLimit | None = None

    def spec(self) -> dict[str, Any]:
        """The fields of a Queue's spec that this states."""
        spec: dict[str, Any] = {}
        if self.max_retries is not None:
            spec["retry"] = {"maxAttempts": self.max_retries + 1}
        if self.visibility_timeout is not None:
            spec["visibilityTimeout"] = format_duration(self.visibility_timeout)
        if "dead_letter_queue" in self.model_fields_set:
            name = self.dead_letter_queue
            spec["deadLetter"] = {"queueRef": None if name is None else {"name": name}}
        if self.rate_limit is not None:
            spec["rateLimit"] = self.rate_limit.spec()
        elif "rate_limit" in self.model_fields_set:
            spec["rateLimit"] = None
        return spec


class NewQueue(Input):
    """A queue: `config`, or `spec` as the Queue resource has it."""

    name: Label
    config: QueueConfig | None = None
    spec: dict[str, Any] | None = Field(None, description="The spec of a Queue resource, in place of config.")

    @model_validator(mode="after")
    def _one_form(self) -> "NewQueue":
        if self.config is not None and self.spec is not None:
            raise ValueError("a queue has config or spec, not both")
        return self


class QueueChange(Input):
    """What is to be otherwise; null takes a field of the spec back to its default."""

    config: QueueConfig | None = None
    spec: dict[str, Any] | None = Field(None, description="A merge patch of the Queue's spec.")

    @model_validator(mode="after")
    def _one_form(self) -> "QueueChange":
        if (self.config is None) == (self.spec is None):
            raise ValueError("a change has either config or spec")
        return self


class CreateQuery(Input):
    wait: Annotated[Wait, Field(description="How long to wait until the queue is ready, at most 60 seconds.")] = (
        timedelta(seconds=10)
    )


class DeleteQuery(CreateQuery):
    deletion_policy: Literal["Retain", "Delete", "DeleteIfEmpty"] | None = Field(
        None, description="What happens to the tasks; absent: what the Queue's spec says."
    )


class PageQuery(Input):
    cursor: str | None = Field(None, max_length=512, description="Of the page before: where this one begins.")
    limit: Whole = Field(100, ge=1, le=100, description="How many at most.")


class SamplesQuery(Input):
    since: Annotated[
        MomentOrDuration,
        Field(description="When the first step begins at the earliest: a time, or how long ago, up to a day."),
    ] = timedelta(hours=1)


class LettersQuery(PageQuery):
    group: Label | None = Field(None, description="Those of one consumer group.")


_State: TypeAlias = Literal[
    "Scheduled", "Waiting", "Retrying", "Done", "Dead", "Cancelled", "Expired", "Replaced"
]  # fmt: skip


class TasksQuery(PageQuery):
    state: _State | None = Field(
        None,
        description="Waiting: for a worker or with one (Running is refused: workers alone know, and are asked for one "
        "task by GET /queues/{queue}/tasks/{id}). Absent: what has ended. The last five need spec.history of the "
        "Queue; Dead does not.",
    )
    type: str | None = Field(None, max_length=256, description="Of this task type.")
    error_type: str | None = Field(None, max_length=256, description="That failed with this error.")
    since: MomentOrDuration | None = Field(
        None, description="Enqueued, or of what has ended recorded, since this time (RFC 3339), or for so long."
    )

    @field_validator("state", mode="before")
    @classmethod
    def _not_running(cls, state: Any) -> Any:
        if state == "Running":
            raise ValueError(
                "tasks are not listed by Running, which workers alone know: list state=Waiting, which has those with a "
                "worker too, and ask for one with GET …/tasks/{id}"
            )
        return state


class Purge(Input):
    """What is to be removed."""

    scheduled: bool = Field(False, description="Those not yet due, too.")


Texts = Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=100)]


class RedriveFilter(Input):
    """A letter has to match all that is stated, and one item of a list."""

    type: str | None = Field(None, max_length=256, description="Of this task type; short for `types` with one.")
    types: Texts = Field([], description="Of one of these task types.")
    reason: Reason | None = Field(None, description="Given up for this reason; short for `reasons` with one.")
    reasons: list[Reason] = Field([], max_length=len(Reason), description="Given up for one of these reasons.")
    error_types: Texts = Field([], description="Whose last error was of one of these types, such as ConnectionError.")
    failed_after: AwareDatetime | None = Field(None, description="Whose last attempt failed at this time or later.")
    failed_before: AwareDatetime | None = Field(None, description="Whose last attempt failed before this time.")
    group: Label | None = Field(None, description="Given up by this consumer group.")

    @model_validator(mode="after")
    def _once(self) -> "RedriveFilter":
        if (self.type is not None and self.types) or (self.reason is not None and self.reasons):
            raise ValueError("say type or types, and reason or reasons")
        if self.failed_after and self.failed_before and self.failed_after >= self.failed_before:
            raise ValueError("failedAfter is not before failedBefore: no dead letter would match")
        return self


class Redrive(Input):
    """Which dead letters go back, and how fast."""

    filter: RedriveFilter = RedriveFilter()
    rate: float | None = Field(
        None, ge=0.001, le=1_000_000, description="Tasks per second; absent: as fast as NATS takes them."
    )
    limit: Whole | None = Field(None, ge=1, le=2**53, description="How many at most, the oldest first; absent: all.")
    dry_run: bool = Field(False, description="Only count those that match.")

    def stated(self) -> NewRedrive:
        wanted = self.filter
        return NewRedrive(
            group=wanted.group,
            reasons=[wanted.reason] if wanted.reason is not None else wanted.reasons,
            types=[wanted.type] if wanted.type is not None else wanted.types,
            error_types=wanted.error_types,
            failed_after=wanted.failed_after,
            failed_before=wanted.failed_before,
            rate=self.rate,
            limit=self.limit,
            dry_run=self.dry_run,
        )


class Nothing(Input):
    """No fields."""

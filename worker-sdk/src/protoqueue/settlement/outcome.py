"""The outcome of a delivery, as a value: each has exactly one."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from protoqueue.errors import NoHandler, ProtoQueueError, UndecodableTask
from protoqueue.observability.tracebacks import traceback_of
from protoqueue.outcomes import Reason, Redrive, Reject, Retry, Snooze, Throttle
from protoqueue.protocol.config import RetryPolicy
from protoqueue.settlement.backoff import retry_delay
from protoqueue.task import Task


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as reported: the exception's class name and its text, valid as UTF-8."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, *, traced: bool = False) -> "Failure":
        """With the traceback if `traced` and the error is the handler's own."""
        try:
            text = str(error)
        except Exception:
            text = "(the error cannot say what it is)"
        traceback = traceback_of(error) if traced and not isinstance(error, ProtoQueueError) else ""
        return cls(type(error).__name__, _utf8(text), _utf8(traceback))


@dataclass(frozen=True, slots=True)
class Done:
    """Ack it."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again as the next attempt after `delay`."""

    delay: timedelta
    failure: Failure


@dataclass(frozen=True, slots=True)
class Snoozed:
    """Try again as the same attempt after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Throttled(Snoozed):
    """The same, and no task of the group starts before then; `why` is the handler's text."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Jittered(Snoozed):
    """A firing that its schedule's jitter puts off; nobody has started it."""


@dataclass(frozen=True, slots=True)
class WaitForWorker:
    """No handler here accepts it: try again as the same attempt after `delay`, when a newer worker may exist."""

    delay: timedelta
    failure: Failure


@dataclass(frozen=True, slots=True)
class Dead:
    """Make it a dead letter. `crashes` is the number of deliveries that had no outcome."""

    reason: Reason
    failure: Failure
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Redriven:
    """Send the dead letter back to the queue and group that gave it up, to be due after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class HandBack:
    """It was not started, or was interrupted by shutdown: another worker may take it after `delay`."""

    delay: timedelta = timedelta()
    started: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was cancelled: ack it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A firing of a schedule with `overlap: Skip` came while the one before it was unfinished: ack it."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A later task of its replace key is stored in its place: ack it."""


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """It was redriven, or fired by a schedule: it must lock its unique key before it runs."""


Outcome: TypeAlias = (
    Done
    | Cancelled
    | Skipped
    | Replaced
    | RetryLater
    | Snoozed
    | Throttled
    | Jittered
    | WaitForWorker
    | Dead
    | Redriven
    | HandBack
    | ClaimKey
)

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0

DONE = Done()
CANCELLED = Cancelled()
SKIPPED = Skipped()
REPLACED = Replaced()
HAND_BACK = HandBack()
CLAIM_KEY = ClaimKey()


@dataclass(slots=True)  # frozen costs half a microsecond a task
class Executed:
    """`task` is None when it could not be decoded; `seconds` is what the handler took."""

    outcome: Outcome
    task: Task | None
    seconds: float = 0.0
    error: BaseException | None = None
    """What made the attempt fail."""
    is_recorded: bool = False
    """Whether the ledger has it already."""
    result: Any = None
    """What the handler returned."""


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def outcome_of(
    error: BaseException, attempt: int, retry: RetryPolicy, jitter: float, waited_s: float = 0.0, *,
    is_final: bool = False,
) -> Outcome:  # fmt: skip
    """The outcome of a task whose handler raised `error` at `attempt`; `jitter` in [-1, 1].

    `waited_s` is for how long it has waited for a worker that has a handler for it and can read its payload; `is_final`
    says whether the handler tries again after no such error.
    """
    if isinstance(error, Throttle):
        return Throttled(error.delay, error.why)
    if isinstance(error, Snooze):
        return Snoozed(error.delay)
    if isinstance(error, Redrive):
        return Redriven(error.delay)
    if isinstance(error, Reject):
        return Dead(Reason.REJECTED, Failure.of(error, traced=True))
    if isinstance(error, NoHandler | UndecodableTask):
        return _unfit(error, retry, jitter, waited_s)
    if is_final and not isinstance(error, Retry):
        return Dead(Reason.REJECTED, Failure.of(error, traced=True))
    if attempt >= retry.max_attempts:
        return Dead(Reason.MAX_ATTEMPTS, Failure.of(error, traced=True))
    asked = error.delay if isinstance(error, Retry) else None
    return RetryLater(retry_delay(retry, attempt, jitter) if asked is None else asked, Failure.of(error))


def _unfit(error: NoHandler | UndecodableTask, retry: RetryPolicy, jitter: float, waited_s: float) -> Outcome:
    """During a rollout the next worker may accept what this one does not."""
    if waited_s >= retry.rollout_grace_s:
        return Dead(Reason.NO_HANDLER if isinstance(error, NoHandler) else Reason.UNDECODABLE, Failure.of(error))
    delay_s = min(max(waited_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S) * (1 + 0.2 * jitter)
    return WaitForWorker(timedelta(seconds=min(delay_s, retry.rollout_grace_s - waited_s)), Failure.of(error))

"""How a task ends: what a handler may raise, and the one outcome that every delivery comes to, as a value."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from protoqueue.backoff import retry_delay
from protoqueue.durations import to_timedelta
from protoqueue.errors import UndecodableTask
from protoqueue.settings import RetryPolicy


class Retry(Exception):
    """Raise it to fail this attempt and say when the next one is due; without `delay` the backoff says it."""

    def __init__(self, why: str = "", *, delay: float | timedelta | None = None) -> None:
        if not isinstance(why, str):
            raise TypeError(f"Retry takes its reason first: write Retry(delay={why!r})")
        super().__init__(why or "the handler asked for a retry")
        self.delay = None if delay is None else to_timedelta(delay)


class Reject(Exception):
    """Raise it to send the task to the dead letters now."""


class Snooze(Exception):
    """Raise it to get the task again after `delay`; it costs no attempt."""

    def __init__(self, delay: float | timedelta) -> None:
        super().__init__(delay)  # the arguments as they were: a handler in a process sends its error by pickle
        self.delay = to_timedelta(delay)

    def __str__(self) -> str:
        return f"snoozed for {self.delay}"


class Reason(StrEnum):
    """Why a task is a dead letter."""

    MAX_ATTEMPTS = "MaxAttempts"
    REJECTED = "Rejected"
    UNDECODABLE = "Undecodable"
    CRASHED = "Crashed"
    EXPIRED = "Expired"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is reported: the exception's class name and its text, which UTF-8 can hold."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        try:
            text = str(error)
        except Exception:
            text = "(the error cannot say what it is)"
        return cls(type(error).__name__, text.encode(errors="backslashreplace").decode())


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
class Dead:
    """Put it to the dead letters."""

    reason: Reason
    failure: Failure


@dataclass(frozen=True, slots=True)
class HandBack:
    """It has not been started, or was interrupted by shutdown: another worker may have it at once."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Someone has asked for it not to be done: ack it."""


Outcome: TypeAlias = Done | Cancelled | RetryLater | Snoozed | Dead | HandBack

DONE = Done()
CANCELLED = Cancelled()
HAND_BACK = HandBack()


def outcome_of(error: BaseException, attempt: int, retry: RetryPolicy, jitter: float) -> Outcome:
    """What becomes of a task whose handler raised `error` at `attempt`; `jitter` in [-1, 1]."""
    if isinstance(error, Snooze):
        return Snoozed(error.delay)
    if isinstance(error, Reject):
        return Dead(Reason.REJECTED, Failure.of(error))
    if isinstance(error, UndecodableTask):
        return Dead(Reason.UNDECODABLE, Failure.of(error))
    if attempt >= retry.max_attempts:
        return Dead(Reason.MAX_ATTEMPTS, Failure.of(error))
    asked = error.delay if isinstance(error, Retry) else None
    return RetryLater(retry_delay(retry, attempt, jitter) if asked is None else asked, Failure.of(error))

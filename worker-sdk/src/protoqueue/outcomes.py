"""How a handler says what becomes of its task, and why a task is a dead letter."""

from datetime import timedelta
from enum import StrEnum

from protoqueue.protocol.durations import to_timedelta


class Retry(Exception):
    """Raise it to fail this attempt and say when the next one is due; without `delay` the backoff says it."""

    def __init__(self, why: str = "", *, delay: float | timedelta | None = None) -> None:
        if not isinstance(why, str):
            raise TypeError(f"the first argument of Retry is its reason: for a delay write Retry(delay={why!r})")
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


class Redrive(Exception):
    """Raise it to send a dead letter back to the queue and group that gave it up, after `delay`, with fresh attempts.

    That is for handlers of a queue that others name as `deadLetter.queueRef`. On any other task it fails the attempt.
    """

    def __init__(self, delay: float | timedelta = 0) -> None:
        super().__init__(delay)
        self.delay = to_timedelta(delay)

    def __str__(self) -> str:
        return f"to be redriven after {self.delay}" if self.delay else "to be redriven"


class Throttle(Snooze):
    """Raise it to get the task again after `delay`, and to have no worker of the group start another before then.

    It costs no attempt. For an API that answers 429 with `Retry-After`. `why` is shown to whoever looks at the group.
    """

    def __init__(self, delay: float | timedelta, why: str = "") -> None:
        super().__init__(delay)
        self.args = (delay, why)
        self.why = why

    def __str__(self) -> str:
        return f"throttled for {self.delay}{f': {self.why}' if self.why else ''}"


class Reason(StrEnum):
    """Why a task is a dead letter."""

    MAX_ATTEMPTS = "MaxAttempts"
    REJECTED = "Rejected"
    UNDECODABLE = "Undecodable"
    NO_HANDLER = "NoHandler"
    CRASHED = "Crashed"
    EXPIRED = "Expired"

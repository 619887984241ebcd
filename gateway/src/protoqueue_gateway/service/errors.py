"""What the service layer refuses; whoever asks says it in their protocol's words."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where: `path` leads into what was sent, such as `("spec", "limits")`."""

    path: tuple[str | int, ...]
    detail: str


class ServiceError(Exception):
    """Base; `faults` may say where."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class Invalid(ServiceError):
    """What was asked for cannot be."""


class InvalidReceipt(ServiceError):
    """The receipt was not given out by a gateway, or for another queue."""


class NoSuchNamespace(ServiceError):
    """There is no such namespace."""


class NoSuchQueue(ServiceError):
    """There is no such queue."""


class NoSuchTask(ServiceError):
    """There is no such task any more."""


class NoSuchDeadLetter(ServiceError):
    """There is no such dead letter any more."""


class NoSuchRedrive(ServiceError):
    """There is no such redrive any more."""


class QueueExists(ServiceError):
    """There is another queue of this name."""


class Conflicting(ServiceError):
    """Somebody else changes it now, or it is being deleted: try again."""


class TooManyPolls(ServiceError):
    """The caller waits for messages in too many requests at the same time."""


class Away(ServiceError):
    """NATS or Kubernetes does not answer now."""


class Revoked(ServiceError):
    """The caller's permission ended while it waited."""

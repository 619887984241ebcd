"""What the Kubernetes API may answer, for the rooms above."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """`field` as Kubernetes writes it, such as `spec.limits.maxTasks`."""

    field: str
    message: str


class KubernetesError(Exception):
    """The API server refused. `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 0, causes: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.causes = causes


class ObjectNotFound(KubernetesError):
    """There is no such object."""


class ObjectExists(KubernetesError):
    """There is one of this name already."""


class WriteConflict(KubernetesError):
    """Somebody else wrote first, or the object is being deleted."""


class ObjectInvalid(KubernetesError):
    """The object breaks the rules of its kind; `causes` name the fields."""


class NotAllowed(KubernetesError):
    """The gateway's own role lacks a right, or a quota or policy forbids the object."""


class KubernetesUnavailable(KubernetesError):
    """The API server does not answer, or not now."""

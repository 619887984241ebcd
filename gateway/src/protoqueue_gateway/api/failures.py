"""Errors of the rooms below as problems: the one place where they meet HTTP."""

import logging

from starlette.exceptions import HTTPException

from protoqueue import (
    AlreadySettled,
    ConfigurationError,
    GroupNotFound,
    HistoryDisabled,
    InvalidTask,
    LeaseLost,
    PayloadTooLarge,
    ProtoQueueError,
    QueueFull,
    QueueNotFound,
    Unavailable,
)
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.kubernetes.errors import KubernetesError, KubernetesUnavailable, NotAllowed, ObjectNotFound
from protoqueue_gateway.service import errors

log = logging.getLogger(__name__)

_CODES: dict[type[Exception], str] = {
    errors.Invalid: "Invalid",
    errors.InvalidReceipt: "InvalidReceipt",
    errors.NoSuchNamespace: "NamespaceNotFound",
    errors.NoSuchQueue: "QueueNotFound",
    errors.NoSuchTask: "TaskNotFound",
    errors.NoSuchDeadLetter: "DeadLetterNotFound",
    errors.NoSuchRedrive: "RedriveNotFound",
    errors.QueueExists: "QueueExists",
    errors.Conflicting: "Conflict",
    errors.TooManyPolls: "TooManyRequests",
    errors.Away: "Unavailable",
    errors.Revoked: "Unauthorized",
    QueueNotFound: "QueueNotFound",
    GroupNotFound: "GroupNotFound",
    HistoryDisabled: "HistoryDisabled",
    ConfigurationError: "Unavailable",
    PayloadTooLarge: "PayloadTooLarge",
    InvalidTask: "Invalid",
    QueueFull: "QueueFull",
    LeaseLost: "LeaseLost",
    AlreadySettled: "LeaseLost",
    Unavailable: "Unavailable",
    ProtoQueueError: "Unavailable",
    ObjectNotFound: "QueueNotFound",
    KubernetesUnavailable: "Unavailable",
    KubernetesError: "Unavailable",
}
_HTTP = {404: "NotFound", 405: "MethodNotAllowed"}


def problem_of(error: Exception) -> Problem | None:
    """None for an unexpected error: a bug in the gateway."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        code = _HTTP.get(error.status_code, "BadRequest")
        detail = {"NotFound": "there is nothing here: /openapi.json lists what there is"}.get(code, str(error.detail))
        return Problem(code, detail, headers=dict(error.headers or {}))
    if isinstance(error, NotAllowed):
        log.error("Kubernetes refuses it to the gateway: %s", error)
        return Problem("Forbidden", f"Kubernetes does not allow it: {error}")
    for kind in type(error).__mro__:
        if (known := _CODES.get(kind)) is not None:
            faults = getattr(error, "faults", ())
            return Problem(known, str(error), faults)
    return None

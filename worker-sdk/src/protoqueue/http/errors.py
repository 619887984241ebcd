"""What can go wrong over HTTP, as one tree. All are `protoqueue.ProtoQueueError`.

ConfigurationError          the client or the call is set up wrongly; nothing was sent
ConnectionFailed            no answer, retries included: whether the request took effect is unknown
MalformedAnswer             what answered does not speak the gateway's protocol
ApiError                    the gateway refused
├── InvalidRequest          400, 413, 415, 422: `errors` points at the fields
├── Unauthorized            401
├── Forbidden               403
├── NotFound                404
├── Conflict                409
│   └── LeaseLost           the message is no longer this client's to settle
├── RateLimited             429
│   └── QueueFull           the queue has reached its limits; nothing was stored
└── Unavailable             5xx: the gateway, NATS or Kubernetes is away
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue import errors


@dataclass(frozen=True, slots=True)
class FieldError:
    """What the gateway refused: `pointer` is a JSON pointer into the body, `parameter` one of the query."""

    detail: str
    pointer: str = ""
    parameter: str = ""


class ConnectionFailed(errors.Unavailable):
    """No answer, retries included: whether the request took effect is unknown."""


class MalformedAnswer(errors.ProtoQueueError):
    """What answered does not speak the gateway's protocol."""


class ApiError(errors.ProtoQueueError):
    """The gateway refused. `retry_after` is in seconds; `request_id` is what its log has for this request."""

    def __init__(
        self, status: int, problem: Mapping[str, Any], request_id: str = "", retry_after: float | None = None
    ) -> None:
        self.status, self.request_id, self.retry_after = status, request_id, retry_after
        self.code = _text(problem.get("code")) or _text(problem.get("type")).rpartition("/")[2]
        self.detail = _text(problem.get("detail")) or _text(problem.get("title")) or "the gateway refused the request"
        self.errors = _field_errors(problem.get("errors"))
        parts = [self.detail, *(f"{error.pointer or error.parameter}: {error.detail}" for error in self.errors)]
        request = f", request {request_id}" if request_id else ""
        super().__init__(f"{'; '.join(parts)} (HTTP {status}{request})")


class InvalidRequest(ApiError):
    """HTTP 400, 413, 415, 422."""


class Unauthorized(ApiError):
    """HTTP 401: the gateway does not know the key."""


class Forbidden(ApiError):
    """HTTP 403: the key does not allow this."""


class NotFound(ApiError):
    """HTTP 404."""


class Conflict(ApiError):
    """HTTP 409."""


class LeaseLost(Conflict):
    """The message is no longer this client's to settle: its lease is over."""


class RateLimited(ApiError):
    """HTTP 429."""


class QueueFull(RateLimited, errors.QueueFull):
    """The queue has reached its limits; nothing was stored."""


class Unavailable(ApiError, errors.Unavailable):
    """HTTP 5xx: the gateway, NATS or Kubernetes is away."""


_BY_CODE: dict[str, type[ApiError]] = {"LeaseLost": LeaseLost, "QueueFull": QueueFull}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}


def api_error(
    status: int, problem: Mapping[str, Any], request_id: str = "", retry_after: float | None = None
) -> ApiError:
    """The error of a refusal: by the problem's code where that says more than the status."""
    code = _text(problem.get("code")) or _text(problem.get("type")).rpartition("/")[2]
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (Unavailable if status >= 500 else ApiError)
    return kind(status, problem, request_id, retry_after)


def _field_errors(value: object) -> tuple[FieldError, ...]:
    items = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    return tuple(
        FieldError(_text(item.get("detail")), _text(item.get("pointer")), _text(item.get("parameter")))
        for item in items
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

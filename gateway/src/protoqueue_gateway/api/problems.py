"""Problems as RFC 9457 has them: the one form that every error of the API takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from protoqueue_gateway.service.errors import Fault

TYPES = "https://protoqueue.dev/problems/"
MEDIA_TYPE = "application/problem+json"

STATUS_OF: Mapping[str, tuple[int, str]] = {
    "BadRequest": (400, "The request cannot be read"),
    "InvalidReceipt": (400, "This is not a receipt of this queue"),
    "Unauthorized": (401, "A valid API key is needed"),
    "Forbidden": (403, "The key does not allow this"),
    "NotFound": (404, "There is no such path"),
    "NamespaceNotFound": (404, "There is no such namespace"),
    "QueueNotFound": (404, "There is no such queue"),
    "GroupNotFound": (404, "The queue has no such consumer group"),
    "TaskNotFound": (404, "There is no such task"),
    "DeadLetterNotFound": (404, "There is no such dead letter"),
    "RedriveNotFound": (404, "There is no such redrive"),
    "MethodNotAllowed": (405, "The path does not take this method"),
    "RequestTimeout": (408, "The request did not arrive in time"),
    "Conflict": (409, "Something else is under way"),
    "QueueExists": (409, "There is another queue of this name"),
    "LeaseLost": (409, "The lease is over"),
    "HistoryDisabled": (409, "The queue keeps no history"),
    "PayloadTooLarge": (413, "The request or a task in it is too large"),
    "UnsupportedMediaType": (415, "The body has to be JSON"),
    "Invalid": (422, "The request says what cannot be"),
    "HeadersTooLarge": (431, "The headers are too many or too large"),
    "QueueFull": (429, "The queue is full"),
    "TooManyRequests": (429, "Too many requests"),
    "Internal": (500, "The gateway failed"),
    "Unavailable": (503, "NATS or Kubernetes does not answer now"),
}
"""Status and title by code, the last part of a problem's `type`."""

RETRY_AFTER_S = {"QueueFull": 1, "TooManyRequests": 1, "Unavailable": 2, "Conflict": 1}


@dataclass
class Problem(Exception):
    """`faults` are places in the body; `parameter` names one of the query, where that is at fault."""

    code: str
    detail: str
    faults: Sequence[Fault] = ()
    parameters: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return STATUS_OF[self.code][0]

    def body(self, instance: str) -> dict[str, Any]:
        status, title = STATUS_OF[self.code]
        body: dict[str, Any] = {
            "type": f"{TYPES}{self.code}", "title": title, "status": status, "code": self.code, "detail": self.detail,
            "instance": instance,
        }  # fmt: skip
        errors = [{"pointer": pointer_of(fault.path), "detail": fault.detail} for fault in self.faults]
        errors += [{"parameter": name, "detail": detail} for name, detail in self.parameters]
        return body | ({"errors": errors} if errors else {}) | dict(self.more)

    def response(self, instance: str) -> Response:
        headers = dict(self.headers)
        if self.code in RETRY_AFTER_S:
            headers.setdefault("Retry-After", str(RETRY_AFTER_S[self.code]))
        if self.code == "Unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        content = json.dumps(self.body(instance), ensure_ascii=True).encode()
        return Response(content, self.status, headers, media_type=MEDIA_TYPE)


def pointer_of(path: Sequence[str | int]) -> str:
    """A JSON pointer; the whole document's is empty."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)

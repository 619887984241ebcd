"""One operation of the API: how it is documented, whom it is allowed, and how it is called."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.api.failures import problem_of
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.auth.keys import EVERYTHING, Action, Key
from protoqueue_gateway.auth.rates import Rates
from protoqueue_gateway.auth.store import KeyStore
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.dead_letters import DeadLetters
from protoqueue_gateway.service.letters import Letters
from protoqueue_gateway.service.live_queues import LiveQueues
from protoqueue_gateway.service.messages import Messages
from protoqueue_gateway.service.queue_details import Details
from protoqueue_gateway.service.queue_history import QueueHistory
from protoqueue_gateway.service.queues import Queues
from protoqueue_gateway.service.redrives import Redrives
from protoqueue_gateway.service.settlement import Settlement
from protoqueue_gateway.service.task_history import TaskHistory
from protoqueue_gateway.service.task_lookup import TaskLookup
from protoqueue_gateway.service.tasks import Tasks
from protoqueue_gateway.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What API and dashboard work with.

    `keys` is None where the gateway runs without authentication, `rates` where a key may send any number of requests;
    what is signed with `signing_key` is valid at all replicas.
    """

    settings: Settings
    connection: Connection
    keys: KeyStore | None
    messages: Messages
    settlement: Settlement
    queues: Queues
    dead_letters: DeadLetters
    live_queues: LiveQueues
    details: Details
    letters: Letters
    history: QueueHistory
    tasks: Tasks
    task_history: TaskHistory
    task_lookup: TaskLookup
    redrives: Redrives
    rates: Rates | None
    signing_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Call:
    """One request. `queue` is None where the path names none."""

    request: Request
    services: Services
    key: Key
    namespace: str
    queue_or_none: QueueName | None

    @property
    def queue(self) -> QueueName:
        if self.queue_or_none is None:
            raise RuntimeError("this operation has no queue")
        return self.queue_or_none

    def revoked(self) -> asyncio.Event:
        """Set once the key does not hold any more."""
        keys = self.services.keys
        return asyncio.Event() if keys is None else keys.revocation(self.key)

    def require(self, action: Action, queue: QueueName) -> None:
        """Raises Problem where the key does not allow it."""
        if not self.key.allows(action, str(queue)):
            raise Problem("Forbidden", f"the key does not allow to {action} on queue {queue}")


Handler: TypeAlias = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Answer:
    """A successful answer: `model` None is one without a body."""

    description: str
    model: type[BaseModel] | None = None
    example: Any = None


@dataclass(frozen=True)
class Operation:
    """`path` is below `/v1` or `/v1/namespaces/{namespace}`; `action` None leaves the permission to the handler."""

    method: str
    path: str
    summary: str
    action: Action | None
    answers: Mapping[int, Answer]
    handler: Handler
    body: type[BaseModel] | None = None
    body_optional: bool = False
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    example: Any = None
    problems: Sequence[str] = ()
    tag: str = "queues"

    @property
    def name(self) -> str:
        return self.handler.__name__


class Operations(list[Operation]):
    """Those of one module; used as a decorator."""

    def add(
        self, method: str, path: str, summary: str, action: Action | None, **more: Any
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.append(Operation(method, path, summary, action, handler=handler, **more))
            return handler

        return register


class Endpoint:
    """The operations on one path, by method: every error comes out as a problem. A plain ASGI application."""

    def __init__(self, operations: Iterable[Operation], services: Services) -> None:
        self._services = services
        self._operations = {operation.method: operation for operation in operations}
        self._allow = ", ".join(sorted(self._operations))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._operations.get(scope["method"])
        request = Request(scope, receive, send)
        if operation is None:  # HEAD too: a receive without its answer would lose messages until their leases are over
            problem = Problem("MethodNotAllowed", f"this path takes {self._allow}", headers={"Allow": self._allow})
            await problem.response(instance_of(request))(scope, receive, send)
            return
        scope["operation"] = operation.name
        try:
            response = await operation.handler(_call(request, operation, self._services))
        except Exception as error:
            response = failed(request, error)
        await response(scope, receive, send)


def failed(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        log.exception(
            "a request failed", extra={"request": request.scope.get("request_id"), "path": instance_of(request)}
        )
        problem = Problem("Internal", "the gateway failed: its log says why, under the X-Request-Id of this answer")
    return problem.response(instance_of(request))


def _call(request: Request, operation: Operation, services: Services) -> Call:
    key: Key = request.scope.get("key", EVERYTHING)
    names = request.path_params
    namespace = names.get("namespace", services.settings.default_namespace)
    if (text := names.get("queue")) is None:
        try:
            QueueName.parse(f"{namespace}/any")
        except ValueError:
            raise Problem("NamespaceNotFound", f"{namespace!r} is not the name of a namespace") from None
        return Call(request, services, key, namespace, None)
    try:
        queue = QueueName.parse(f"{namespace}/{text}")
    except ValueError as error:
        raise Problem("QueueNotFound", str(error)) from None
    call = Call(request, services, key, namespace, queue)
    if operation.action is not None:
        call.require(operation.action, queue)
    return call


def instance_of(request: Request) -> str:
    """The path, without a receipt in it: who has that may settle the task."""
    path: str = request.scope["path"]
    receipt = request.scope.get("path_params", {}).get("receipt")
    return path.replace(f"/messages/{receipt}/", "/messages/{receipt}/") if receipt else path


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return raw_json(to_json(content), status, headers)


def raw_json(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, status, dict(headers or {}), media_type="application/json")

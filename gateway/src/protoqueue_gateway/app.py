"""The application: its rooms wired to each other, its routes, what runs beside it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from protoqueue_gateway.api import dead_letters, health, messages, queues, redrives, samples, tasks
from protoqueue_gateway.api.edge import App, Edge
from protoqueue_gateway.api.openapi import FORMS, build_openapi
from protoqueue_gateway.api.operation import Services, failed
from protoqueue_gateway.api.routing import Routes
from protoqueue_gateway.auth.rates import Rates
from protoqueue_gateway.auth.store import KeyStore
from protoqueue_gateway.dashboard.site import dashboard_routes
from protoqueue_gateway.kubernetes.client import Kubernetes
from protoqueue_gateway.kubernetes.errors import KubernetesError
from protoqueue_gateway.kubernetes.secrets import receipt_key
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.dead_letters import DeadLetters
from protoqueue_gateway.service.diagnosis import Diagnosis
from protoqueue_gateway.service.letters import Letters
from protoqueue_gateway.service.live_queues import LiveQueues
from protoqueue_gateway.service.messages import Messages
from protoqueue_gateway.service.queue_details import Details
from protoqueue_gateway.service.queue_history import QueueHistory
from protoqueue_gateway.service.queues import Queues
from protoqueue_gateway.service.receipts import Receipts
from protoqueue_gateway.service.redrives import Redrives
from protoqueue_gateway.service.settlement import Settlement
from protoqueue_gateway.service.task_history import TaskHistory
from protoqueue_gateway.service.task_lookup import TaskLookup
from protoqueue_gateway.service.tasks import Tasks
from protoqueue_gateway.settings import Settings

log = logging.getLogger(__name__)

OPERATIONS = [
    *messages.operations,
    *queues.operations,
    *redrives.operations,
    *dead_letters.operations,
    *tasks.operations,
    *samples.operations,
]

_AGAIN_S = 1.0


def build_app(services: Services) -> FastAPI:
    """What is served besides the operations."""
    app = FastAPI(title="ProtoQueue gateway", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    for path, handler in {
        "/healthz": health.healthz, "/readyz": health.readyz, "/metrics": health.metrics,
        "/openapi.json": health.openapi, "/docs": health.docs,
    }.items():  # fmt: skip
        app.add_route(path, handler, ["GET"], include_in_schema=False)
    app.router.routes.extend(dashboard_routes(services))
    document = build_openapi(OPERATIONS)
    app.openapi = lambda: document  # type: ignore[method-assign]

    async def answer_failure(request: Request, error: Exception) -> Response:
        return failed(request, error)

    app.add_exception_handler(HTTPException, answer_failure)
    app.add_exception_handler(Exception, answer_failure)
    return app


def at_the_edge(app: FastAPI, services: Services) -> App:
    """The application as a server calls it."""
    settings = services.settings
    inner: Any = Routes(FORMS, OPERATIONS, services, app)
    if settings.cors_origins:
        inner = CORSMiddleware(
            inner, allow_origins=list(settings.cors_origins), allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After", "Location"], max_age=600,
        )  # fmt: skip
    return Edge(inner, services.keys, services.rates)


@contextlib.asynccontextmanager
async def running_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything behind the routes. Waits for the receipts' key only; NATS may come later. Raises KubernetesError."""
    kubernetes = Kubernetes.connect(settings.namespace)
    connection = Connection(settings.nats_url)
    keys = None if settings.insecure else KeyStore(kubernetes)
    live = LiveQueues(kubernetes, connection, settings.namespaces)
    tasks = [asyncio.create_task(connection.run())]
    if keys is not None:
        tasks.append(asyncio.create_task(keys.run()))
    try:
        signing_key = await _receipt_key(kubernetes, settings.receipt_secret)
        receipts = Receipts(signing_key)
        live.expect()  # those whose pages were open come back at once
        per_second = settings.requests_per_second_per_key
        yield Services(
            settings=settings,
            connection=connection,
            keys=keys,
            messages=Messages(connection, receipts, settings.max_long_polls_per_key),
            settlement=(settlement := Settlement(connection, receipts)),
            queues=Queues(kubernetes, connection),
            dead_letters=DeadLetters(connection),
            live_queues=live,
            letters=(letters := Letters(connection)),
            details=Details(kubernetes, Diagnosis(connection, letters), live),
            history=QueueHistory(connection),
            tasks=(tasks_of_queues := Tasks(connection)),
            task_history=TaskHistory(connection, tasks_of_queues),
            task_lookup=TaskLookup(connection),
            redrives=Redrives(kubernetes),
            rates=Rates(per_second) if per_second else None,
            signing_key=signing_key,
        )
        await settlement.close()
    finally:
        await live.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()
        await kubernetes.close()


async def _receipt_key(kubernetes: Kubernetes, name: str) -> bytes:
    """Asked for until Kubernetes gives it: with another key, receipts of other replicas would be refused."""
    while True:
        try:
            return await receipt_key(kubernetes, name)
        except KubernetesError as error:
            log.warning(
                "cannot read or make the Secret %s that receipts are signed with, trying again: %s", name, error
            )
            await asyncio.sleep(_AGAIN_S)

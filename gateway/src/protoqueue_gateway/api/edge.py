"""What every request passes first: its id, its key, its limits. Plain ASGI, as it is in the way of all of them."""

import functools
import ipaddress
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from prometheus_client import Counter, Gauge, Histogram

from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.auth.keys import EVERYTHING, Key
from protoqueue_gateway.auth.rates import Rates
from protoqueue_gateway.auth.store import KeyStore

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS = Counter("protoqueue_gateway_requests", "Requests, by operation and status.", ["operation", "status"])
SECONDS = Histogram(
    "protoqueue_gateway_request_seconds", "How long requests took, long polls left out.", ["operation"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
OPEN = Gauge("protoqueue_gateway_open_requests", "Requests that are being answered.")

_requests = functools.cache(lambda operation, status: REQUESTS.labels(operation, str(status)))
_seconds = functools.cache(lambda operation: SECONDS.labels(operation))
"""Finding one of them costs more than counting."""

_ID = re.compile(rb"[A-Za-z0-9._:+=/-]{1,128}")
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/", "/dashboard"})
_DASHBOARD = "/dashboard/"
"""What begins with this has sessions in place of keys, and looks after them itself."""
_LONG = frozenset({"receive", "dashboard_live", "dashboard_queue_live", "dashboard_redrive_live"})


def _check_host(host: str) -> None:
    """Without keys a page of any site could make the browser ask here under a name of its own that leads to this host.

    Raises Problem for a name that is not this machine's own.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if host and name != "localhost" and not name.endswith(".localhost") and not is_loopback(name):
        raise Problem("Forbidden", "without authentication this gateway answers to localhost alone")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Edge:
    """`keys` None lets everybody in, `rates` None any number of requests."""

    def __init__(self, app: App, keys: KeyStore | None, rates: Rates | None) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _ID.fullmatch(given) else b"%016x" % random.getrandbits(64)
        scope["request_id"] = request_id.decode()
        extra = [(b"x-request-id", request_id), (b"x-content-type-options", b"nosniff")]
        status, begun = 500, time.perf_counter()

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                stated = list(message.get("headers", ()))
                if not any(name == b"cache-control" for name, _ in stated):
                    stated.append((b"cache-control", b"no-store"))
                message["headers"] = [*stated, *extra]
            await send(message)

        OPEN.inc()
        try:
            try:
                scope["key"] = self._admit(scope["path"], scope["method"], headers)
            except Problem as problem:
                await problem.response(scope["path"])(scope, receive, sending)
                return
            await self._app(scope, receive, sending)
        except Exception:  # the framework has answered, and raises for the server's log, which is here
            log.exception("a request failed", extra={"request": scope["request_id"]})
        finally:
            OPEN.dec()
            name = scope.get("operation", "other")
            _requests(name, status).inc()
            if name not in _LONG:
                _seconds(name).observe(time.perf_counter() - begun)

    def _admit(self, path: str, method: str, headers: dict[bytes, bytes]) -> Key:
        """Raises Problem. What is open needs no key."""
        if self._keys is None:
            _check_host(headers.get(b"host", b"").decode("latin-1"))
            return EVERYTHING
        if path in _OPEN_PATHS or path.startswith(_DASHBOARD) or (method == "OPTIONS" and b"origin" in headers):
            return EVERYTHING
        scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Problem("Unauthorized", "send Authorization: Bearer pq_…, a key that `protoqueue keys create` makes")
        key = self._keys.find(text.strip())
        if key is None:
            raise Problem("Unauthorized", "the key is not known, is revoked or has expired")
        if self._rates is not None and not self._rates.take(key.id):
            raise Problem("TooManyRequests", "this key sends more requests per second than are allowed")
        return key

"""A worker's HTTP endpoints for Kubernetes and Prometheus."""

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from asyncio import AbstractEventLoop, TimerHandle, get_running_loop
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from protoqueue.errors import ConfigurationError
from protoqueue.observability.metrics import merged

log = logging.getLogger(__name__)

STALLED_AFTER_S = 30.0
DEAF_AFTER_S = 60.0
"""A connected worker without an answer for this long should be restarted: requests are answered within 5 s."""


class _Connection(Protocol):
    @property
    def connected(self) -> bool: ...

    @property
    def acks_refused(self) -> str | None: ...


class _Pulling(Protocol):
    @property
    def stalled_s(self) -> float: ...

    @property
    def unheard_s(self) -> float: ...

    @property
    def left_behind(self) -> int: ...

    @property
    def unsettled(self) -> str | None: ...


class _Settings(Protocol):
    @property
    def missing(self) -> str | None: ...


class _BothFamilies(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """On every address of both families; of IPv4 alone where there is no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return _BothFamilies(("::", port), handler)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return ThreadingHTTPServer(("", port), handler)


@dataclass(frozen=True)
class Probed:
    """A worker, as it is asked about."""

    name: str
    registry: CollectorRegistry
    connection: _Connection
    pulling: _Pulling
    settings: _Settings


def _unhealthy(worker: Probed) -> dict[str, str]:
    problems = {}
    if worker.connection.connected and (unheard_s := worker.pulling.unheard_s) > DEAF_AFTER_S:
        problems["pulling"] = f"NATS is connected and has answered nothing for {unheard_s:.0f} s"
    if left_behind := worker.pulling.left_behind:
        problems["handlers"] = f"{left_behind} plain functions run on after their timeout: few threads are left"
    return problems


def _unready(worker: Probed) -> dict[str, str]:
    if not worker.connection.connected:
        return {"nats": "not connected"}
    if refused := worker.connection.acks_refused:
        return {"acks": f"NATS refuses them: {refused}"}
    if missing := worker.settings.missing:
        return {"settings": missing}
    if unsettled := worker.pulling.unsettled:
        return {"outcomes": unsettled}
    stalled_s = worker.pulling.stalled_s
    return {"pulling": f"no answer for {stalled_s:.0f} s"} if stalled_s > STALLED_AFTER_S else {}


class HealthServer:
    """`/metrics`, `/readyz` (tasks can come) and `/healthz` (a new process would do no better).

    It tells of all workers of a process, `expected` of them; what is wrong with one of several is told by its name.
    The metrics are the workers', and what the process has in prometheus_client's default registry: its own and users'.
    Without NATS, its Queue and ConsumerGroup, or their consumers, a worker is not ready, and a restart would not help.
    It answers from a thread of its own: a stuck event loop is one of the things to report.
    """

    def __init__(self, port: int, loop: AbstractEventLoop, expected: int = 1) -> None:
        self._workers: list[Probed] = []
        self._expected = expected
        self._loop = loop
        self._turned_at = monotonic()
        self._turning: TimerHandle | None = None
        self._server = _listen(port, self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="protoqueue-health", daemon=True)

    @classmethod
    def from_environment(cls, stack: contextlib.AsyncExitStack, expected: int = 1) -> "HealthServer | None":
        """Serve on `PROTOQUEUE_METRICS_PORT`, if set, until the stack unwinds; to be called in the event loop.

        A port that is taken is said and otherwise let be: where pods share a machine's ports, as in the devcluster,
        only one of several replicas gets it, and the others work all the same. Raises ConfigurationError for what is
        no port.
        """
        port = os.environ.get("PROTOQUEUE_METRICS_PORT")
        if not port:
            return None
        try:
            server = cls(int(port), get_running_loop(), expected)
        except (ValueError, OverflowError) as error:
            raise ConfigurationError(f"PROTOQUEUE_METRICS_PORT={port!r}: must be a port, 1 to 65535") from error
        except OSError as error:
            log.error("metrics and probes are not served: cannot listen on port %s: %s", port, error)
            return None
        server._thread.start()
        stack.callback(server.close)
        server._turn()
        return server

    def add(self, worker: Probed, stack: contextlib.AsyncExitStack) -> None:
        """Tell of a worker too, until the stack unwinds."""
        self._workers.append(worker)
        stack.callback(self._workers.remove, worker)

    def close(self) -> None:
        if self._turning is not None:
            self._turning.cancel()
        self._server.shutdown()
        self._server.server_close()

    def _turn(self) -> None:
        self._turned_at = monotonic()
        self._turning = self._loop.call_later(1, self._turn)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        if path == "/metrics":
            workers = merged(worker.registry for worker in self._workers)
            return 200, CONTENT_TYPE_LATEST, generate_latest(workers) + generate_latest(REGISTRY)
        if path == "/healthz":
            problems = self._unhealthy()
        elif path == "/readyz":
            problems = self._unhealthy() | self._unready()
        else:
            return 404, "text/plain", b"there are /metrics, /healthz and /readyz\n"
        return (503 if problems else 200), "application/json", json.dumps(problems or {"status": "ok"}).encode()

    def _unhealthy(self) -> dict[str, str]:
        problems = {}
        if (stuck_s := monotonic() - self._turned_at) > STALLED_AFTER_S:
            problems["event loop"] = f"stuck for {stuck_s:.0f} s: does an async handler block?"
        return problems | self._of_all(_unhealthy)

    def _unready(self) -> dict[str, str]:
        problems = self._of_all(_unready)
        if (missing := self._expected - len(self._workers)) > 0:
            problems["workers"] = f"{missing} of {self._expected} have not started"
        return problems

    def _of_all(self, look: Callable[[Probed], dict[str, str]]) -> dict[str, str]:
        if self._expected == 1:
            return {what: problem for worker in self._workers for what, problem in look(worker).items()}
        return {f"{worker.name} {what}": problem for worker in self._workers for what, problem in look(worker).items()}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # for who connects and asks nothing

            def do_GET(self) -> None:  # http.server's name
                status, content_type, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                log.debug(format, *args)

        return Handler

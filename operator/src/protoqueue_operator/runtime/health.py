"""Answers to probes and to Prometheus, over plain HTTP."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from protoqueue.aio import cancel

_LOOK_S = 1.0
_IDLE_S = 20.0
_MOST_CONNECTIONS = 100
"""Probes and scrapes need few, short connections; without a limit, any client could hold any number open."""


class MonitoringServer:
    """Serves health at the path of `url`, and /readyz and /metrics beside it."""

    def __init__(
        self,
        url: str,
        registry: CollectorRegistry,
        trouble: Callable[[], str | None],
        not_ready: Callable[[], str | None],
    ) -> None:
        """`trouble` says why a restart would help, `not_ready` why nothing could be done at the moment."""
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "0.0.0.0", parts.port or 80, parts.path or "/healthz"  # noqa: S104 -- probes come from outside the pod
        self._registry = registry
        self._trouble = trouble
        self._not_ready = not_ready
        self._runner: web.AppRunner | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises OSError where the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get(self._path, self._health),
                web.get("/readyz", self._readiness),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._watching = asyncio.create_task(_close_idle(self._runner), name="monitoring connections")

    async def stop(self) -> None:
        if self._watching:
            await cancel(self._watching)
        if self._runner:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return _answer(self._trouble())

    async def _readiness(self, _: web.Request) -> web.Response:
        return _answer(self._not_ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")


def _answer(trouble: str | None) -> web.Response:
    return web.json_response({"ok": trouble is None, "trouble": trouble}, status=503 if trouble else 200)


async def _close_idle(runner: web.AppRunner) -> None:
    """Until cancelled, end connections that have been open for long, and the oldest of too many."""
    since: dict[web.RequestHandler, float] = {}
    while True:
        await asyncio.sleep(_LOOK_S)
        now = time.monotonic()
        open_now = runner.server.connections if runner.server else []
        since = {connection: since.get(connection, now) for connection in open_now}
        oldest = sorted(since, key=since.__getitem__)
        too_many = set(oldest[: max(0, len(oldest) - _MOST_CONNECTIONS)])
        for connection in oldest:
            if connection in too_many or now - since[connection] > _IDLE_S:
                connection.force_close()

"""Answers to probes and to Prometheus, over plain HTTP."""

from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest


class MonitoringServer:
    """Serves health at the path of `url`, and metrics at /metrics beside it."""

    def __init__(self, url: str, registry: CollectorRegistry, trouble: Callable[[], str | None]) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "0.0.0.0", parts.port or 80, parts.path or "/healthz"  # noqa: S104 -- probes come from outside the pod
        self._registry = registry
        self._trouble = trouble
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises OSError where the port is taken."""
        app = web.Application()
        app.add_routes([web.get(self._path, self._health), web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        trouble = self._trouble()
        return web.json_response({"ok": trouble is None, "trouble": trouble}, status=503 if trouble else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")

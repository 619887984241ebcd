"""The node's own HTTPS endpoint: container logs, which the API server fetches for `kubectl logs`."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from aiohttp import web

from protoqueue_devcluster.node.logs import LogQuery, read_log
from protoqueue_devcluster.node.pods import PodRunner
from protoqueue_devcluster.node.states import Waiting

FindPod = Callable[[str, str], PodRunner | None]


@contextlib.asynccontextmanager
async def running_kubelet(host: str, find_pod: FindPod) -> AsyncIterator[int]:
    """Serve on a free port and yield it. Certificates are made up anew: API servers do not check a kubelet's.

    Read-only and open to whoever reaches it, so it listens on loopback unless the node was told another address.
    """
    app = web.Application()
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", lambda request: _logs(request, find_pod))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(host, "localhost").configure_cert(tls)
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _logs(request: web.Request, find_pod: FindPod) -> web.StreamResponse:
    names = request.match_info
    pod = find_pod(names["namespace"], names["pod"])
    container = pod.container(names["container"]) if pod else None
    if container is None:
        raise web.HTTPNotFound(text=f"container {names['container']} of pod {names['pod']} is not on this node")
    try:
        query = parse_query(request.query, datetime.now(UTC))
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"bad log option: {error}") from error
    restarts = container.status.restarts
    if request.query.get("previous") == "true":
        restarts -= 1
    path = container.log_path(restarts)
    if isinstance(container.status.state, Waiting) and not path.exists():
        why = container.status.state.reason
        raise web.HTTPBadRequest(
            text=f'container "{names["container"]}" in pod "{names["pod"]}" is waiting to start: {why}'
        )
    if restarts < 0 or (restarts != container.status.restarts and not path.exists()):
        raise web.HTTPBadRequest(text=f'previous terminated container "{names["container"]}" in pod not found')

    def is_open() -> bool:
        return container.is_running and container.status.restarts == restarts

    return await _stream(request, path, query, is_open)


async def _stream(request: web.Request, path: Path, query: LogQuery, is_open: Callable[[], bool]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    async for chunk in read_log(path, query, is_open):
        await response.write(chunk)
    await response.write_eof()
    return response


def parse_query(query: Mapping[str, str], now: datetime) -> LogQuery:
    """Read the options as the API server passes them on; raises ValueError for what is no number or time."""
    since = None
    if "sinceSeconds" in query:
        since = now - timedelta(seconds=int(query["sinceSeconds"]))
    elif "sinceTime" in query:
        since = datetime.fromisoformat(query["sinceTime"])
    return LogQuery(
        follow=query.get("follow") == "true",
        timestamps=query.get("timestamps") == "true",
        tail_lines=int(query["tailLines"]) if "tailLines" in query else None,
        limit_bytes=int(query["limitBytes"]) if "limitBytes" in query else None,
        since=since,
    )

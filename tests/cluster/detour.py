"""A way to the API server that can be disturbed, and that notes who asked for what."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from protoqueue_devcluster.kube.access import read_access

_HOP_BY_HOP = {"connection", "content-length", "content-encoding", "host", "keep-alive", "transfer-encoding"}
_EXPIRED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}


@dataclass(frozen=True)
class Asked:
    """`at` in monotonic seconds, when the answer was there."""

    at: float
    method: str
    path: str
    status: int


class Detour:
    """A plain HTTP server before the API server that `kubeconfig` names. Its own kubeconfig is in `directory`."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self._access = read_access(kubeconfig)
        self.kubeconfig = directory / "kubeconfig"
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.open = asyncio.Event()
        """While it is not set nothing passes, in either direction; connections stay as they are."""
        self.open.set()
        self.watches_flow = asyncio.Event()
        """While it is not set no byte of any watch passes, of old ones and new ones."""
        self.watches_flow.set()
        self.refusal: tuple[int, dict[str, str]] | None = None
        """Status and headers with which every request is answered that is no watch."""
        self.refuses: Callable[[web.Request], int | None] = lambda _: None
        """Says with which status a request is refused, watches included; None lets it pass."""
        self.delay_s = 0.0
        """How long each request waits before it passes, watches excepted."""
        self.asked: list[Asked] = []
        self._watches: set[web.StreamResponse] = set()

    async def start(self) -> None:
        headers = {"Authorization": f"Bearer {self._access.token}"} if self._access.token else {}
        connector = aiohttp.TCPConnector(ssl=self._access.tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        named = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "detour",
            "contexts": [{"name": "detour", "context": {"cluster": "detour", "user": "detour"}}],
            "clusters": [{"name": "detour", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "detour", "user": {"token": "detour"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(named))

    async def stop(self) -> None:
        if self._runner and self._session:
            await self._runner.cleanup()
            await self._session.close()

    async def expire_watches(self) -> None:
        """Tell every watch that its place in the history is forgotten; what it was yet to bring, it never will."""
        for response in self._watches:
            await response.write(json.dumps({"type": "ERROR", "object": _EXPIRED}).encode() + b"\n")

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        assert self._session
        await self.open.wait()
        watches = request.query.get("watch") == "true"
        if (status := self.refuses(request)) is not None:
            self._note(request, status)
            return web.json_response({"message": "by way of trial"}, status=status)
        if self.delay_s and not watches:
            await asyncio.sleep(self.delay_s)
        if self.refusal and not watches:
            status, headers = self.refusal
            self._note(request, status)
            return web.json_response({"message": "by way of trial"}, status=status, headers=headers)
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        kept.pop("Authorization", None)
        async with self._session.request(
            request.method,
            f"{self._access.server}{request.path_qs}",
            data=await request.read() or None,
            headers=kept,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError), self._counted(response, watches):
                async for chunk in answer.content.iter_any():
                    await self.open.wait()
                    if watches:
                        await self.watches_flow.wait()
                    await response.write(chunk)
            self._note(request, answer.status)
            return response

    @contextlib.contextmanager
    def _counted(self, response: web.StreamResponse, watches: bool) -> Iterator[None]:
        if watches:
            self._watches.add(response)
        try:
            yield
        finally:
            self._watches.discard(response)

    def _note(self, request: web.Request, status: int) -> None:
        self.asked.append(Asked(time.monotonic(), request.method, request.path, status))

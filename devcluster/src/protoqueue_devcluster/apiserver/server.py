"""HTTP: authentication, routing, streams; everything else is decided below."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

import yaml
from aiohttp import ClientSession, TCPConnector, web

from . import discovery, openapi, pods
from .authentication import OPEN_PATHS, Credentials
from .cluster import Cluster
from .negotiation import Accepted, parse_accept
from .resources import Answer, Call, Resources
from .routes import Route, parse_route, verb
from .statuses import ApiError, internal_error, unauthorized, unserved
from .storage import encoded
from .watching import Watch, parse_watch, representation

logger = logging.getLogger(__name__)
JSON = "application/json"
ROOT_PATHS = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
MAX_BODY = 3 * 1024 * 1024


class RequestLog:
    """One JSON line per resource request, for checking afterwards what a client needs to be allowed."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1)

    def write(self, method: str, route: Route, query: Mapping[str, str], user_agent: str, status: int) -> None:
        line = {
            "verb": verb(method, route, query),
            "group": route.group,
            "resource": route.resource,
            "subresource": route.subresource,
            "namespace": route.namespace,
            "name": route.name,
            "userAgent": user_agent,
            "status": status,
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()


class Server:
    """Answers requests about one cluster."""

    def __init__(self, cluster: Cluster, credentials: Credentials, log: RequestLog | None = None) -> None:
        self._cluster = cluster
        self._credentials = credentials
        self._resources = Resources(cluster, credentials.token)
        self._log = log
        self._kubelets: ClientSession | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_cleanup.append(self._close)
        return app

    async def _close(self, _: web.Application) -> None:
        if self._kubelets is not None:
            await self._kubelets.close()
        if self._log is not None:
            self._log.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = parse_route(request.path)
        try:
            response = await self._handle(request, route)
        except ApiError as error:
            response = _json(encoded(error.body()), error.code)
        except (asyncio.CancelledError, ConnectionError):
            self._record(request, route, 200)  # how a watch ends: its client leaves
            raise
        except web.HTTPRequestEntityTooLarge:
            too_large = ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")
            response = _json(encoded(too_large.body()), 413)
        except Exception as error:
            logger.exception("request failed method=%s path=%s; please report this", request.method, request.path)
            response = _json(encoded(internal_error(repr(error)).body()), 500)
        self._record(request, route, response.status)
        return response

    def _record(self, request: web.Request, route: Route | None, status: int) -> None:
        if self._log is not None and route is not None:
            self._log.write(request.method, route, request.query, request.headers.get("User-Agent", ""), status)

    async def _handle(self, request: web.Request, route: Route | None) -> web.StreamResponse:
        path = request.path
        if path not in OPEN_PATHS and not self._credentials.accepts(request.headers.get("Authorization", "")):
            raise unauthorized()
        if route is None:
            return self._document(path, request.headers.get("Accept", ""))
        kind = self._cluster.kinds.find(route.group, route.version, route.resource)
        if kind is None or (route.subresource and not kind.has_subresource(route.subresource)):
            return self._unserved(route)
        word = verb(request.method, route, request.query)
        headers = request.headers
        call = Call(
            kind=kind,
            route=route,
            query=request.query,
            accepted=parse_accept(headers.get("Accept", "")),
            content_type=headers.get("Content-Type", JSON),
            user_agent=headers.get("User-Agent", ""),
            body=await request.read() if request.body_exists else b"",
        )
        if word == "watch" and not route.subresource:
            return await self._watch(request, call)
        if word == "get" and route.subresource == "log":
            return await self._pod_log(request, call)
        return _response(self._resources.answer(word, call), call.accepted)

    def _unserved(self, route: Route) -> web.Response:
        """A built-in group tells of what it lacks; the servers of groups that there are not know only paths."""
        if self._cluster.kinds.is_built_in(route.group):
            raise unserved()
        return _text("404 page not found\n", 404)

    def _document(self, path: str, accept: str) -> web.Response:
        accepted = parse_accept(accept)
        if path in {"/healthz", "/livez", "/readyz"}:
            return _text("ok")
        parts = path.strip("/").split("/")
        if parts == ["openapi", "v2"]:
            return _openapi_v2(accept)
        if parts[:2] == ["openapi", "v3"]:
            return self._openapi(parts[2:])
        found = self._discovered(parts, accepted)
        if found is None:
            return _text("404 page not found\n", 404)
        aggregated = accepted.form == "APIGroupDiscoveryList" and len(parts) == 1 and parts[0] in {"api", "apis"}
        return _json(encoded(found), content_type=discovery.AGGREGATED if aggregated else JSON)

    def _discovered(self, parts: list[str], accepted: Accepted) -> dict[str, Any] | None:
        kinds, aggregated = self._cluster.kinds, accepted.form == "APIGroupDiscoveryList"
        match parts:
            case ["version"]:
                return dict(discovery.VERSION)
            case [""]:
                return {"paths": ROOT_PATHS}
            case ["api"]:
                return discovery.aggregated(kinds, core=True) if aggregated else discovery.core_versions()
            case ["apis"]:
                return discovery.aggregated(kinds, core=False) if aggregated else discovery.groups(kinds)
            case ["api", version]:
                return self._version("", version)
            case ["apis", group]:
                return discovery.group(kinds, group)
            case ["apis", group, version]:
                return self._version(group, version)
        return None

    def _version(self, group: str, version: str) -> dict[str, Any] | None:
        """None where nobody serves the group. Raises ApiError where a built-in one lacks the version."""
        found = discovery.resources(self._cluster.kinds, group, version)
        if found is None and self._cluster.kinds.is_built_in(group):
            raise unserved()
        return found

    def _openapi(self, parts: list[str]) -> web.Response:
        match parts:
            case []:
                return _json(encoded(openapi.index(self._cluster.kinds)), content_type="text/plain; charset=utf-8")
            case ["api", version]:
                body = openapi.document(self._cluster.kinds, "", version)
            case ["apis", group, version]:
                body = openapi.document(self._cluster.kinds, group, version)
            case _:
                body = None
        return _json(body) if body is not None else _text("404 page not found\n", 404)

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        watched = parse_watch(call.kind, call.route.namespace, call.route.name, call.query)
        show = representation(call.kind, call.accepted.form, call.query.get("includeObject", ""))
        response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
        await response.prepare(request)
        watch = Watch(self._cluster.store, call.kind, watched, show)
        async with aclosing(watch.chunks()) as chunks:  # a client may leave during a write, outside of the generator
            async for chunk in chunks:
                if chunk:
                    await response.write(chunk)
        await response.write_eof()
        return response

    async def _pod_log(self, request: web.Request, call: Call) -> web.StreamResponse:
        pod = self._cluster.registry.get(call.kind, call.route.namespace, call.route.name).object
        place = pods.log_url(self._cluster.registry, pod, call.query)
        if place is None:
            return web.Response(status=204)
        if self._kubelets is None:
            self._kubelets = ClientSession(connector=TCPConnector(limit=0))
        source = await pods.open_log(self._kubelets, *place)
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
            async for chunk in source.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        finally:
            source.close()
        return response


def _json(body: bytes, status: int = 200, content_type: str = JSON) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": content_type})


def _openapi_v2(accept: str) -> web.Response:
    """An empty document: kubectl asks for it to validate a `kind: List`, and leaves what is not in it to the server."""
    if "protobuf" in accept:
        return web.Response(body=b"", content_type="application/octet-stream")
    return _json(encoded({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": {}}))


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status)


def _response(answer: Answer, accepted: Accepted) -> web.Response:
    if accepted.yaml:
        text = yaml.safe_dump(json.loads(answer.body), sort_keys=False)
        return web.Response(text=text, status=answer.status, content_type="application/yaml")
    response = _json(answer.body, answer.status)
    for warning in answer.warnings:
        # What a client sent is quoted in it: a header holds no line breaks and no other control characters.
        text = "".join(each if each.isprintable() else " " for each in warning)
        response.headers.add("Warning", '299 - "' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return response

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from protoqueue_operator.api.v1alpha1.kinds import CUSTOM_KINDS
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone, Invalid, Kubernetes

DEPLOYMENT = Key("Deployment", "default", "mailers")


async def answering(status: int, message: str, asked: list[tuple[str, object]]) -> TestServer:
    """An API server that answers everything alike, and notes what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        asked.append((f"{request.method} {request.path}", await request.json()))
        return web.json_response({"message": message}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.mark.parametrize(
    ("status", "error"), [(400, Invalid), (422, Invalid), (404, Gone), (409, Conflict), (403, ApiError)]
)
async def test_what_is_refused_for_good_is_told_from_what_may_pass(status: int, error: type[ApiError]) -> None:
    server = await answering(status, "restartPolicy: Unsupported value", [])
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
    try:
        with pytest.raises(ApiError, match="restartPolicy: Unsupported value") as raised:
            await kubernetes.apply(DEPLOYMENT, {})
        assert type(raised.value) is error
    finally:
        await kubernetes.close()
        await server.close()


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        (
            "failed to create typed patch object (default/mailers; apps/v1, Kind=Deployment)",
            ".spec.template.spec.containerz: field not declared in schema",
        ),
        (
            "failed to convert new object (default/mailers; apps/v1, Kind=Deployment) to proper version (apps/v1)",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
async def test_what_is_not_of_its_kind_is_refused_for_good_though_the_server_calls_it_its_own_fault(
    what: str, cause: str
) -> None:
    server = await answering(500, f"{what}: {cause}", [])
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
    try:
        with pytest.raises(Invalid) as raised:
            await kubernetes.apply(DEPLOYMENT, {})
        assert str(raised.value).endswith(cause)
    finally:
        await kubernetes.close()
        await server.close()


async def test_a_kind_of_a_group_that_nobody_serves_is_named() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="404 page not found\n", status=404)

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        with pytest.raises(Gone, match=r"the cluster knows no Machine in example\.com/v1"):
            await kubernetes.scale("example.com/v1", "Machine", "default", "one")
        await kubernetes.close()


async def test_a_kind_without_a_scale_is_named() -> None:
    async def answer(_: web.Request) -> web.Response:
        resources = [{"name": "daemonsets", "kind": "DaemonSet"}, {"name": "daemonsets/status", "kind": "DaemonSet"}]
        return web.json_response({"resources": resources})

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        with pytest.raises(Gone, match="a DaemonSet has no size"):
            await kubernetes.scale("apps/v1", "DaemonSet", "default", "one")
        await kubernetes.close()


async def test_what_a_server_says_in_plain_text_is_passed_on() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>no way through</html>", status=403)

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        with pytest.raises(ApiError, match="HTTP status 403: <html>no way through") as raised:
            await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert raised.value.is_refusal


async def test_only_the_very_object_is_deleted_and_its_dependents_after_it() -> None:
    asked: list[tuple[str, object]] = []
    server = await answering(200, "", asked)
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
    try:
        await kubernetes.delete(DEPLOYMENT, "its-uid")
    finally:
        await kubernetes.close()
        await server.close()
    ((request, options),) = asked
    assert request == "DELETE /apis/apps/v1/namespaces/default/deployments/mailers"
    assert options == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "its-uid"},
    }


@pytest.mark.parametrize("name", ["../../kube-system/secrets/x", "x?fieldManager=y", "x#y", "x/status", "%2e%2e/x"])
async def test_a_name_is_one_segment_of_the_path_whatever_it_holds(name: str) -> None:
    asked: list[tuple[str, object]] = []
    server = await answering(200, "", asked)
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
    try:
        await kubernetes.patch_status(Key("Queue", "mine", name), "its-uid", {})
    finally:
        await kubernetes.close()
        await server.close()
    ((request, _),) = asked
    assert request == f"PATCH /apis/protoqueue.dev/v1alpha1/namespaces/mine/queues/{name}/status"


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_is_no_segment_names_nothing(name: str) -> None:
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server="http://127.0.0.1:1"), CUSTOM_KINDS)
    with pytest.raises(Gone):
        await kubernetes.get(Key("Secret", "mine", name))


async def test_expired_credentials_are_renewed_once_however_many_requests_notice() -> None:
    logins = 0

    def log_in() -> kopf.ConnectionInfo:
        nonlocal logins
        logins += 1
        return kopf.ConnectionInfo(server=str(server.make_url("/")), token=f"token-{logins}")

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)  # long enough for all of them to be under way
        return web.json_response({}, status=401 if request.headers["Authorization"].endswith("-1") else 200)

    async with serving(answer) as server:
        kubernetes = Kubernetes(log_in, CUSTOM_KINDS)
        await asyncio.gather(*(kubernetes.get(DEPLOYMENT) for _ in range(5)), return_exceptions=True)
        await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert logins == 2


async def test_credentials_that_stay_refused_are_an_error() -> None:
    async with serving(_refuse) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        with pytest.raises(ApiError, match="by way of trial") as raised:
            await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert raised.value.status == 401


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    asked: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        asked.append(time.monotonic())
        return await _answer(status if len(asked) < 3 else 200, {"Retry-After": "1"})

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert len(asked) == 3
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(asked))


@pytest.mark.parametrize(("status", "headers"), [(500, {}), (429, {}), (409, {"Retry-After": "0"})])
async def test_who_does_not_ask_for_patience_is_taken_at_the_first_word(status: int, headers: dict[str, str]) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return await _answer(status, headers)

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        with pytest.raises(ApiError):
            await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert len(asked) == 1


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server


async def _refuse(_: web.Request) -> web.Response:
    return await _answer(401)


async def _answer(status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"message": "by way of trial"}, status=status, headers=headers)


async def test_for_the_version_of_an_object_its_content_is_not_sent() -> None:
    accepted: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        accepted.append(request.headers["Accept"])
        return web.json_response({"metadata": {"resourceVersion": "7"}})

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        assert await kubernetes.version(Key("Secret", "default", "account")) == "7"
        await kubernetes.get(DEPLOYMENT)
        await kubernetes.close()
    assert accepted == ["application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "application/json"]


async def test_what_may_be_a_moment_old_is_listed_from_the_cache_of_the_api_server() -> None:
    """Pods of busy groups are asked for every few seconds; a continued list takes no version beside its place."""
    asked: list[tuple[str | None, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.query.get("resourceVersion"), request.query.get("continue")))
        rest = {} if "continue" in request.query else {"continue": "more"}
        return web.json_response({"metadata": rest, "items": []})

    async with serving(answer) as server:
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))), CUSTOM_KINDS)
        for from_cache in (True, False):
            async for _ in kubernetes.pages("Pod", "default", "", from_cache):
                pass
        await kubernetes.close()
    assert asked == [("0", None), (None, "more"), (None, None), (None, "more")]

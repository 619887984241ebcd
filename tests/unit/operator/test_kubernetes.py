import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from protoqueue_operator.adapters.kubernetes import ApiError, Conflict, Gone, Invalid, Kubernetes
from protoqueue_operator.core.resources import Key

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
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))))
    try:
        with pytest.raises(ApiError, match="restartPolicy: Unsupported value") as raised:
            await kubernetes.apply(DEPLOYMENT, {})
        assert type(raised.value) is error
    finally:
        await kubernetes.close()
        await server.close()


async def test_only_the_very_object_is_deleted_and_its_dependents_after_it() -> None:
    asked: list[tuple[str, object]] = []
    server = await answering(200, "", asked)
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))))
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
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=str(server.make_url("/"))))
    try:
        await kubernetes.patch_status(Key("Queue", "mine", name), "its-uid", {})
    finally:
        await kubernetes.close()
        await server.close()
    ((request, _),) = asked
    assert request == f"PATCH /apis/protoqueue.dev/v1alpha1/namespaces/mine/queues/{name}/status"


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_is_no_segment_names_nothing(name: str) -> None:
    kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server="http://127.0.0.1:1"))
    with pytest.raises(Gone):
        await kubernetes.get(Key("Secret", "mine", name))

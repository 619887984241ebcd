"""Pods: their life until a kubelet lets go of them. Their nodes need not exist."""

from typing import Any

import pytest
from aiohttp import web

from conformance.kubeapi import Api
from conformance.widgets import unique
from waiting import eventually


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    """A pod that no scheduler assigns: the tests do."""
    own = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "x"}]}
    return {"metadata": {"name": name}, "spec": {**own, **spec}}


@pytest.fixture
async def path(api: Api, namespace: str) -> str:
    pods = f"/api/v1/namespaces/{namespace}/pods"

    async def accepted() -> bool:
        return (await api.post(f"{pods}?dryRun=All", pod())).status == 201

    await eventually(accepted)  # real namespaces get the service account of their pods a moment later
    return pods


def binding(node: str, pod: str = "p") -> dict[str, Any]:
    return {"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}}


async def bound(api: Api, path: str, node: str = "n1", **spec: Any) -> None:
    await api.post(path, pod(**spec))
    reply = await api.post(f"{path}/p/binding", binding(node))
    assert (reply.status, reply.body["status"]) == (201, "Success")


async def test_a_new_pod_is_pending(api: Api, path: str) -> None:
    reply = await api.post(path, pod())
    assert reply.status == 201
    assert reply.body["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert reply.body["spec"]["serviceAccountName"] == "default"


async def test_a_binding_assigns_the_node_once(api: Api, path: str) -> None:
    await bound(api, path)
    stored = (await api.get(f"{path}/p")).body
    assert stored["spec"]["nodeName"] == "n1"
    assert {"PodScheduled": "True"}.items() <= {c["type"]: c["status"] for c in stored["status"]["conditions"]}.items()
    again = await api.post(f"{path}/p/binding", binding("n2"))
    assert (again.status, again.reason) == (409, "Conflict")


async def test_a_binding_names_the_pod_of_its_path(api: Api, path: str) -> None:
    await api.post(path, pod())
    for body in ({"target": {"kind": "Node", "name": "n1"}}, binding("n1", "other")):
        reply = await api.post(f"{path}/p/binding", body)
        assert (reply.status, reply.message) == (400, "name in URL does not match name in Binding object")


async def test_pods_are_found_by_node_and_phase(api: Api, path: str) -> None:
    await bound(api, path)
    await api.post(path, pod("other"))
    assert (await api.get(f"{path}?fieldSelector=spec.nodeName%3Dn1")).names == ["p"]
    assert (await api.get(f"{path}?fieldSelector=spec.nodeName%3D")).names == ["other"]
    assert (await api.get(f"{path}?fieldSelector=status.phase!%3DRunning")).names == ["other", "p"]


async def test_an_unbound_pod_goes_at_once(api: Api, path: str) -> None:
    await api.post(path, pod())
    assert (await api.delete(f"{path}/p")).status == 200
    assert (await api.get(f"{path}/p")).status == 404


async def test_a_bound_pod_stays_until_its_kubelet_lets_go(api: Api, path: str) -> None:
    await bound(api, path, terminationGracePeriodSeconds=7)
    reply = await api.delete(f"{path}/p")
    assert reply.metadata["deletionGracePeriodSeconds"] == 7
    assert (await api.get(f"{path}/p")).status == 200
    assert (await api.patch(f"{path}/p/status", {"status": {"phase": "Succeeded"}})).status == 200
    assert (await api.delete(f"{path}/p", {"gracePeriodSeconds": 0})).status == 200
    assert (await api.get(f"{path}/p")).status == 404


async def test_an_eviction_deletes(api: Api, path: str) -> None:
    await bound(api, path)
    reply = await api.post(
        f"{path}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    )
    assert reply.status == 201
    assert "deletionTimestamp" in (await api.get(f"{path}/p")).metadata


async def test_most_of_a_pods_spec_is_fixed(api: Api, path: str) -> None:
    await api.post(path, pod())
    assert (await api.patch(f"{path}/p", {"spec": {"restartPolicy": "Never"}})).causes == [
        ("spec", "FieldValueForbidden")
    ]
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "y"}]
    assert (await api.patch(f"{path}/p", image, "application/json-patch+json")).status == 200


async def test_there_is_no_log_without_a_node(api: Api, path: str) -> None:
    await api.post(path, pod())
    assert (await api.get(f"{path}/p/log")).status == 204
    assert (await api.get(f"{path}/p/log?container=none")).message == "container none is not valid for pod p"


async def test_a_log_is_streamed_from_the_kubelet(api: Api, path: str, namespace: str, tmp_path: Any) -> None:
    from protoqueue_devcluster.apiserver.authentication import make_credentials

    asked: list[tuple[str, dict[str, str]]] = []

    async def serve_log(request: web.Request) -> web.Response:
        asked.append((request.path, dict(request.query)))
        return web.Response(text="line one\nline two\n")

    node = unique("node")
    kubelet = web.Application()
    kubelet.router.add_get("/containerLogs/{tail:.*}", serve_log)
    runner = web.AppRunner(kubelet)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=make_credentials("127.0.0.1").context).start()
    try:
        port = runner.addresses[0][1]
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        assert (await api.post("/api/v1/nodes", {"metadata": {"name": node}, "status": status})).status == 201
        await bound(api, path, node)
        reply = await api.get(f"{path}/p/log?tailLines=2&follow=true")
        assert (reply.status, reply.body) == (200, "line one\nline two\n")
        assert asked == [(f"/containerLogs/{namespace}/p/c", {"tailLines": "2", "follow": "true"})]
    finally:
        await api.delete(f"/api/v1/nodes/{node}")
        await runner.cleanup()

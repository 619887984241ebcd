"""What the gateway asks Kubernetes for while it does all that it can, against what the chart's Roles let it ask for."""

import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

import nats
from chart.rbac import Request, denied, permissions, unused
from chart.rendering import ROOT, render
from gateway.api import Api
from gateway.gateway_process import GatewayProcess
from gateway.visitor import Visitor, signed_in
from nats_server import NatsServer
from protoqueue_devcluster.components import running_apiserver
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, NAMESPACES, SECRETS, KubeClient
from protoqueue_devcluster.manifests import apply_manifests
from protoqueue_gateway.app import OPERATIONS
from protoqueue_gateway.auth.keys import digest_of
from protoqueue_gateway.dashboard.site import PAGES
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

NAMESPACE = "queues"
NAME = "pq-protoqueue-gateway"
VALUES = {"queue": "email", "group": "email", "id": "some", "name": "some", "sequence": "1", "receipt": "some"}


@pytest.fixture
async def requests(tmp_path: Path) -> AsyncIterator[set[Request]]:
    """Those of a gateway that was asked for each operation and each page once, and has ended."""
    log, server = tmp_path / "requests.jsonl", NatsServer(tmp_path / "nats")
    async with contextlib.AsyncExitStack() as stack:
        await server.start()
        stack.callback(server.kill)
        connection = await nats.connect(server.url)
        stack.push_async_callback(connection.close)
        await provision(connection, QueueSpec("email"), [GroupSpec("email")])
        api = await stack.enter_async_context(running_apiserver(tmp_path / "api", request_log=log))
        await apply_manifests(api.kubeconfig, [ROOT / "crds"])
        key = await prepare(api.kubeconfig)
        variables = {"POD_NAMESPACE": NAMESPACE, "RECEIPT_SECRET": f"{NAME}-receipts"}
        gateway = GatewayProcess(api.kubeconfig, server.url, tmp_path / "gateway", variables=variables)
        stack.push_async_callback(gateway.kill)
        await gateway.start()
        async with aiohttp.ClientSession() as session:
            client = Api(session, gateway.url, key)
            await create_queues(client)
            await walk_through_the_dashboard(await signed_in(Visitor(session, gateway.url), key))
            await ask_for_everything(client)
        await gateway.stop()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        yield {Request.parse(line) for line in lines if line["userAgent"].startswith("python-httpx")}


async def prepare(kubeconfig: Path) -> str:
    """What the chart and `protoqueue keys create` make; the text of the key."""
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
    entry = {"sha256": digest_of(secret), "allow": [{"queues": ["*"], "actions": ["admin"]}]}
    async with KubeClient(kubeconfig, "tests") as kube:
        await kube.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        labels = {"protoqueue.dev/api-keys": "true"}
        data = {key_id: base64.b64encode(json.dumps(entry).encode()).decode()}
        await kube.create(SECRETS, {"metadata": {"name": "keys", "labels": labels}, "data": data}, NAMESPACE)
        await kube.create(SECRETS, {"metadata": {"name": f"{NAME}-receipts"}}, NAMESPACE)
        group = {"metadata": {"name": "orders"}, "spec": {"queueRef": {"name": "others"}}}  # somebody's own
        await kube.create(CONSUMER_GROUPS, group, "default")
    return f"pq_{key_id}_{secret}"


async def create_queues(api: Api) -> None:
    async def knows_the_key() -> bool:
        return (await api("GET", "/v1/queues")).status == 200

    await eventually(knows_the_key)
    assert (await api("POST", "/v1/queues?wait=0", {"name": "email"})).status == 201
    assert (await api("POST", "/v1/queues?wait=0", {"name": "orders"})).status == 409


async def ask_for_everything(api: Api) -> None:
    for operation in sorted(OPERATIONS, key=lambda each: each.method == "DELETE"):
        path = operation.path.format_map(VALUES)
        query = {"receive": "?wait=0", "create_queue": "?wait=0"}.get(operation.name, "")
        await api(operation.method, f"/v1{path}{query}", operation.example)


async def walk_through_the_dashboard(visitor: Visitor) -> None:
    """Each page, then each action; streams of events are what pages already are."""
    token = (await visitor.get("/dashboard/queues")).token
    values = {"namespace": "default", **VALUES}

    async def is_shown() -> bool:
        return (await visitor.get("/dashboard/queues/default/email")).status == 200

    await eventually(is_shown)
    for page in (each for each in PAGES if each.method == "GET" and not each.path.endswith("/live")):
        await visitor.get(page.path.format_map(values))
    started = await visitor.post("/dashboard/queues/default/email/dead-letters/redrive-all", {"csrf": token})
    values["name"] = started.location.rpartition("/")[2]
    last = ("stop", "sign-out")
    for page in sorted((each for each in PAGES if each.method == "POST"), key=lambda each: each.path.endswith(last)):
        await visitor.post(page.path.format_map(values), {"csrf": token, "confirm": "email"})


async def test_all_that_the_gateway_asks_for_is_allowed_and_all_that_is_allowed_is_asked_for(requests) -> None:
    rights = set(permissions(render({"gateway": {"enabled": True}}, namespace=NAMESPACE), NAME, NAMESPACE))
    assert rights
    assert denied(requests, rights) == set()
    assert unused(requests, rights) == set()

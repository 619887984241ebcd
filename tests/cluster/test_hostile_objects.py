"""Objects made to end whoever reads them: each costs itself a condition, and others nothing.

On an API server of the test's own, since here the definitions are older ones: what those let pass is stored.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.replica import Replica
from conformance.kubeapi import Api, connected
from nats_server import NatsServer
from protoqueue_devcluster.components import running_apiserver
from protoqueue_operator.api.v1alpha1.crd import crds
from waiting import eventually

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROOT = "/apis/protoqueue.dev/v1alpha1/namespaces/default"
JSON = {"Content-Type": "application/json"}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
MEMORY = 512 << 20
"""What the chart allows the operator."""


def older() -> list[dict[str, Any]]:
    """Definitions as they were when pod templates and payloads were anything at all."""
    made = copy.deepcopy(crds())
    queue, group = (
        each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        for each in (made["queues"], made["consumergroups"])
    )
    queue["schedules"]["items"]["properties"]["payload"] = OPEN
    group["worker"]["properties"]["template"] = OPEN
    return list(made.values())


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_apiserver(tmp_path / "api") as server, connected(server.kubeconfig) as api:
        yield api


@pytest.fixture
async def operator(api: Api, tmp_path: Path) -> AsyncIterator[Replica]:
    """Not started yet."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    replica = Replica(api.kubeconfig, server.url, tmp_path)
    yield replica
    replica.kill()
    server.stop()


async def define(api: Api, definitions: list[dict[str, Any]]) -> None:
    for definition in definitions:
        name = definition["metadata"]["name"]
        if (await api.post(DEFINITIONS, definition)).status == 409:
            assert (await api.patch(f"{DEFINITIONS}/{name}", {"spec": definition["spec"]})).status == 200

        async def served(plural: str = definition["spec"]["names"]["plural"]) -> bool:
            return (await api.get(f"{ROOT}/{plural}")).status == 200

        await eventually(served)


async def post(api: Api, plural: str, text: str) -> int:
    """As text: the test's own encoder would give up."""
    async with api.session.post(f"{api.url}{ROOT}/{plural}", data=text, headers=JSON) as response:
        return response.status


async def told(api: Api, path: str, *words: str) -> None:
    """Wait until the object's text has all of these words: it may be too deep to be decoded here."""

    async def is_told() -> bool:
        async with api.session.get(f"{api.url}{ROOT}/{path}") as response:
            text = await response.text()
        missing = [word for word in words if word not in text]
        assert not missing, (missing, text[-600:])
        return True

    await eventually(is_told)


def queue(name: str, fields: str = "") -> str:
    return (
        f'{{"apiVersion":"protoqueue.dev/v1alpha1","kind":"Queue","metadata":{{"name":"{name}"}},"spec":{{{fields}}}}}'
    )


def group(name: str, template: str) -> str:
    spec = f'{{"queueRef":{{"name":"sane"}},"worker":{{"template":{template}}}}}'
    head = '{"apiVersion":"protoqueue.dev/v1alpha1","kind":"ConsumerGroup","metadata":{"name":"'
    return f'{head}{name}"}},"spec":{spec}}}'


def nested(depth: int) -> str:
    return '{"x":' * depth + "0" + "}" * depth


def deep(depth: int) -> dict[str, tuple[str, str]]:
    """By name, the kind and text of objects nested so deeply."""
    schedule = f'"schedules":[{{"name":"x","every":"1s","payload":{nested(depth)}}}]'
    return {
        f"payload-{depth}": ("queues", queue(f"payload-{depth}", schedule)),
        f"template-{depth}": ("consumergroups", group(f"template-{depth}", nested(depth))),
    }


async def test_what_is_nested_deeply_costs_itself_a_condition(api: Api, operator: Replica) -> None:
    await define(api, older())
    for depth in (3_000, 9_980):
        for plural, text in deep(depth).values():
            assert await post(api, plural, text) == 201
    operator.start()
    assert await post(api, "queues", queue("sane")) == 201
    await told(api, "queues/sane", '"reason":"Reconciled"')
    for depth in (3_000, 9_980):
        await told(api, f"queues/payload-{depth}", '"reason":"InvalidSpec"', "spec.schedules[0].payload: ")
        await told(api, f"consumergroups/template-{depth}", '"reason":"InvalidSpec"', "nested in more than 32 levels")
    # The definitions of today leave nothing of it, neither in what is stored nor in what comes.
    await define(api, list(crds().values()))
    for depth in (3_000, 9_980):
        for name, (plural, text) in deep(depth).items():
            renewed = text.replace(name, f"{name}-again", 1)
            assert await post(api, plural, renewed) in (400, 422)
            async with api.session.get(f"{api.url}{ROOT}/{plural}/{name}") as response:
                assert len(await response.text()) < 5_000
    operator.kill()
    operator.start()
    assert await post(api, "queues", queue("saner")) == 201
    await told(api, "queues/saner", '"reason":"Reconciled"')
    assert operator.exit_code is None


def wide(**lists: Any) -> str:
    pod = {"containers": [{"name": "x", "image": "x"}], **lists}
    return json.dumps({"spec": pod}, separators=(",", ":"))


ENVIRONMENTS = wide(
    containers=[
        {"name": f"c{number}", "image": "x", "env": [{"name": f"{each}", "value": "x"} for each in range(512)]}
        for number in range(16)
    ]
)
ITEMS = [{"key": "a", "path": "b"}] * 128
SOURCES = [{"name": f"v{n}", "projected": {"sources": [{"secret": {"items": ITEMS}}] * 10}} for n in range(40)]


@pytest.mark.parametrize("template", [ENVIRONMENTS, wide(volumes=SOURCES)], ids=["environments", "volumes"])
async def test_sixteen_of_the_largest_objects_leave_the_operator_within_its_memory(
    api: Api, operator: Replica, template: str
) -> None:
    await define(api, list(crds().values()))
    names = [f"wide-{number}" for number in range(16)]
    for name in names:
        assert await post(api, "consumergroups", group(name, template)) == 201
    operator.start()
    peak = asyncio.create_task(peak_of(operator))
    assert await post(api, "queues", queue("sane")) == 201
    await told(api, "queues/sane", '"reason":"Reconciled"')
    for name in names:
        await told(api, f"consumergroups/{name}", '"type":"Ready"')
    await api.patch(f"{ROOT}/queues/sane", {"spec": {"visibilityTimeout": "31s"}})
    await told(api, "queues/sane", '"observedGeneration":2')
    peak.cancel()
    used = await peak
    assert used < MEMORY, f"{used >> 20} MiB for 16 templates of {len(template) >> 10} KiB"


async def peak_of(operator: Replica) -> int:
    """In bytes, as often as it can be looked at until cancelled."""
    most, process = 0, psutil.Process(operator.pid)
    try:
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return most

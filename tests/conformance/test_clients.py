"""The clients people use: kubectl and the official Python client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes import aio

from conformance.kubeapi import Api
from conformance.kubectl import Kubectl
from conformance.widgets import Widgets
from waiting import eventually


@pytest.fixture
def path(widgets: Widgets) -> str:
    """How kubectl is told of the widgets of this run."""
    return f"widgets.{widgets.group}"


async def test_apply_creates_configures_and_leaves_alone(kubectl: Kubectl, widgets: Widgets) -> None:
    apply = ("apply", "-f", "-")
    assert "created" in await kubectl(*apply, given=widgets.named("one", size=2))
    assert "unchanged" in await kubectl(*apply, given=widgets.named("one", size=2))
    assert "configured" in await kubectl(*apply, given=widgets.named("one", size=3, low=1))
    await kubectl(*apply, given=widgets.named("one", size=3))
    got = json.loads(await kubectl("get", f"widgets.{widgets.group}", "one", "-o", "json"))
    assert "low" not in got["spec"]


async def test_apply_refuses_what_the_schema_does_not_know(kubectl: Kubectl, widgets: Widgets) -> None:
    errors = await kubectl.fails("apply", "-f", "-", given=widgets.named("one", bogus=1))
    assert 'unknown field "spec.bogus"' in errors


async def test_apply_shows_what_is_invalid(kubectl: Kubectl, widgets: Widgets) -> None:
    errors = await kubectl.fails("apply", "-f", "-", given=widgets.named("one", cron="a", every="b"))
    assert "give cron or every, not both" in errors


async def test_apply_merges_a_deployment(kubectl: Kubectl) -> None:
    container = {"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await kubectl("apply", "-f", "-", given=manifest)
    container["env"] = [{"name": "B", "value": "2"}]  # type: ignore[assignment]
    await kubectl("apply", "-f", "-", given=manifest)
    got = json.loads(await kubectl("get", "deployment", "d", "-o", "json"))
    assert got["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]


async def test_server_side_apply_reports_conflicts(kubectl: Kubectl, widgets: Widgets) -> None:
    await kubectl("apply", "--server-side", "-f", "-", given=widgets.named("one", size=2))
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    assert "conflict with" in await kubectl.fails(*other, given=widgets.named("one", size=3))
    assert "serverside-applied" in await kubectl(*other, "--force-conflicts", given=widgets.named("one", size=3))


async def test_server_side_apply_follows_client_side_apply(kubectl: Kubectl, widgets: Widgets, path: str) -> None:
    await kubectl("apply", "-f", "-", given=widgets.named("one", size=2, low=1))
    await kubectl("apply", "--server-side", "-f", "-", given=widgets.named("one", size=3))
    got = json.loads(await kubectl("get", path, "one", "-o", "json"))
    assert got["spec"]["size"] == 3
    assert "low" not in got["spec"]


async def test_get_prints_the_columns(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    await api.post(widgets.path, widgets.named("one", size=6))
    heading, row = (await kubectl("get", path)).splitlines()
    assert heading.split() == ["NAME", "SIZE", "READY", "AGE"]
    assert row.split()[:2] == ["one", "6"]
    assert "one" in await kubectl("get", f"x{path}")


@asynccontextmanager
async def following(kubectl: Kubectl, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await kubectl.start(*arguments)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.terminate()
        await process.wait()


async def test_get_watch_follows_changes(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    await api.post(widgets.path, widgets.named("one", size=6))
    async with following(kubectl, "get", path, "-w") as lines:
        for expected in (["NAME", "SIZE", "READY"], ["one", "6"]):
            line = await asyncio.wait_for(lines.readline(), 90)
            assert line.decode().split()[: len(expected)] == expected
        await api.patch(widgets.at("one"), {"spec": {"size": 7}})
        assert (await asyncio.wait_for(lines.readline(), 90)).decode().split()[:2] == ["one", "7"]


async def test_wait_ends_with_the_condition(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    await api.post(widgets.path, widgets.named("one"))
    process = await kubectl.start("wait", f"{path}/one", "--for=condition=Ready", "--timeout=90s")
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await api.patch(widgets.at("one", "status"), {"status": status})
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, b"condition met" in output) == (0, True)


async def test_describe_shows_the_events(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    created = await api.post(widgets.path, widgets.named("one", size=6))
    involved = {
        "apiVersion": f"{widgets.group}/v1", "kind": "Widget", "name": "one", "namespace": widgets.namespace,
        "uid": created.metadata["uid"],
    }  # fmt: skip
    event = {"metadata": {"generateName": "e-"}, "involvedObject": involved, "reason": "Tested", "type": "Normal"}
    await api.post(f"/api/v1/namespaces/{widgets.namespace}/events", {**event, "message": "all is well"})
    output = await kubectl("describe", path, "one")
    assert "Size:" in output
    assert "all is well" in output


async def test_scale_patch_and_delete(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    await api.post(widgets.path, widgets.named("one", replicas=1))
    await kubectl("scale", f"{path}/one", "--replicas=4")
    await kubectl("patch", path, "one", "--type=merge", "-p", '{"spec":{"size":5}}')
    await kubectl("label", path, "one", "a=b")
    got = (await api.get(widgets.at("one"))).body
    assert (got["spec"]["replicas"], got["spec"]["size"], got["metadata"]["labels"]) == (4, 5, {"a": "b"})
    assert "deleted" in await kubectl("delete", path, "one")
    assert "NotFound" in await kubectl.fails("get", path, "one")


async def test_delete_waits_for_finalizers(kubectl: Kubectl, api: Api, widgets: Widgets, path: str) -> None:
    await api.post(widgets.path, widgets.named("one", {"finalizers": ["example.com/hold"]}))
    process = await kubectl.start("delete", path, "one", "--timeout=90s")

    async def being_deleted() -> bool:
        return "deletionTimestamp" in (await api.get(widgets.at("one"))).metadata

    await eventually(being_deleted)
    assert process.returncode is None
    await api.patch(widgets.at("one"), {"metadata": {"finalizers": None}})
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0


async def test_explain_reads_the_schema(kubectl: Kubectl, path: str) -> None:
    assert "how big" in await kubectl("explain", f"{path}.spec.size")
    assert "List of environment variables" in await kubectl("explain", "pod.spec.containers.env")


async def test_a_list_of_objects_is_applied(kubectl: Kubectl) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in "ab"]
    output = await kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
    assert output.splitlines() == ["configmap/a created", "configmap/b created"]


async def test_permissions_can_be_asked_for(kubectl: Kubectl) -> None:
    assert (await kubectl("auth", "can-i", "create", "pods")).strip() == "yes"


@pytest.fixture
async def client(api: Api) -> AsyncIterator[aio.client.ApiClient]:
    configuration = aio.client.Configuration()
    await aio.config.load_kube_config(str(api.kubeconfig), client_configuration=configuration)
    async with aio.client.ApiClient(configuration) as made:
        yield made


async def test_the_python_client_handles_built_in_objects(client: aio.client.ApiClient, namespace: str) -> None:
    core = aio.client.CoreV1Api(client)
    body = aio.client.V1ConfigMap(metadata=aio.client.V1ObjectMeta(name="m"), data={"a": "b"})
    created = await core.create_namespaced_config_map(namespace, body)
    assert created.metadata.uid
    patched = await core.patch_namespaced_config_map("m", namespace, {"data": {"c": "d"}})
    assert patched.data == {"a": "b", "c": "d"}
    assert "m" in {each.metadata.name for each in (await core.list_namespaced_config_map(namespace)).items}
    await core.delete_namespaced_config_map("m", namespace)
    with pytest.raises(aio.client.ApiException) as error:
        await core.read_namespaced_config_map("m", namespace)
    assert error.value.status == 404


async def test_the_python_client_watches_custom_objects(
    client: aio.client.ApiClient, api: Api, widgets: Widgets
) -> None:
    custom = aio.client.CustomObjectsApi(client)
    await custom.create_namespaced_custom_object(
        widgets.group, "v1", widgets.namespace, "widgets", widgets.named("one")
    )
    seen = []
    async with aio.watch.Watch() as watch:
        arguments = (widgets.group, "v1", widgets.namespace, "widgets")
        async for event in watch.stream(custom.list_namespaced_custom_object, *arguments, timeout_seconds=20):
            seen.append((event["type"], event["object"]["spec"]["size"]))
            if len(seen) == 2:
                break
            await api.patch(widgets.at("one"), {"spec": {"size": 2}})
    assert seen == [("ADDED", 1), ("MODIFIED", 2)]

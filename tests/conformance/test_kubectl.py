"""kubectl's own ways: diff, prune, cascades, waiting for what is not there yet."""

import asyncio
import json
from typing import Any

from conformance.kubeapi import Api
from conformance.kubectl import Kubectl
from waiting import eventually

PRUNE = ("apply", "--prune", "-l", "app=x", "--prune-allowlist=core/v1/ConfigMap", "-f", "-")


def settings(*names: str, value: str = "one") -> dict[str, Any]:
    items = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app": "x"}},
            "data": {"k": value},
        }
        for name in names
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


async def test_diff_shows_what_an_apply_would_change(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", given=settings("a"))
    assert await kubectl("diff", "-f", "-", given=settings("a")) == ""
    process = await kubectl.start("diff", "-f", "-")
    output, _ = await process.communicate(json.dumps(settings("a", value="two")).encode())
    changed = [line for line in output.decode().splitlines() if line.startswith(("-  k", "+  k"))]
    assert (process.returncode, changed) == (1, ["-  k: one", "+  k: two"])
    assert json.loads(await kubectl("get", "configmap", "a", "-o", "json"))["data"] == {"k": "one"}


async def test_prune_removes_what_is_no_longer_applied(kubectl: Kubectl) -> None:
    await kubectl(*PRUNE, given=settings("a", "b"))
    assert "configmap/b pruned" in await kubectl(*PRUNE, given=settings("a"))
    assert (await kubectl("get", "configmap", "-l", "app=x", "-o", "name")).split() == ["configmap/a"]


async def test_wait_sees_creation_fields_and_deletion(kubectl: Kubectl, api: Api) -> None:
    maps = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    created = asyncio.create_task(kubectl("wait", "--for=create", "configmap/late", "--timeout=90s"))
    await api.post(maps, {"metadata": {"name": "late"}, "data": {"k": "v"}})
    assert "condition met" in await created
    assert "condition met" in await kubectl("wait", "--for=jsonpath={.data.k}=v", "configmap/late", "--timeout=90s")
    deleted = asyncio.create_task(kubectl("wait", "--for=delete", "configmap/late", "--timeout=90s"))
    await api.delete(f"{maps}/late")
    await deleted


async def test_cascades_take_dependents_or_leave_them(kubectl: Kubectl, api: Api) -> None:
    maps = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"

    async def family(name: str) -> None:
        owner = (await api.post(maps, {"metadata": {"name": name}})).metadata
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner["uid"]}
        child = {"name": f"{name}-child", "ownerReferences": [{**reference, "blockOwnerDeletion": True}]}
        await api.post(maps, {"metadata": child})

    await family("first")
    await kubectl("delete", "configmap", "first", "--cascade=foreground", "--timeout=90s")
    assert (await api.get(f"{maps}/first-child")).status == 404
    await family("second")
    await kubectl("delete", "configmap", "second", "--cascade=orphan", "--timeout=90s")

    async def let_go() -> bool:
        return "ownerReferences" not in (await api.get(f"{maps}/second-child")).metadata

    await eventually(let_go)

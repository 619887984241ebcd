"""`protoqueue keys`: what it makes is a key, and what it revokes is none."""

import asyncio
import json
import os
import sys
from typing import Any

from gateway.api import Api
from waiting import eventually


async def run(cluster: Any, *arguments: str) -> tuple[int, str, str]:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "protoqueue", "keys", *arguments, env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_key_is_made_used_listed_and_revoked(api: Api, cluster: Any, name: str) -> None:
    await api.queue(name)
    options = ("--queues", f"default/{name}", "--allow", "enqueue,read", "--expires", "1d", "-n", "default")
    status, out, err = await run(cluster, "create", "ci", *options, "-o", "json")
    assert status == 0, err
    made = json.loads(out)
    mine = api.with_key(made["key"])

    async def stored() -> bool:
        return (await mine("POST", f"/v1/queues/{name}/messages", {"payload": 1})).status == 201

    await eventually(stored)
    assert (await mine("GET", f"/v1/queues/{name}/messages?wait=0")).code == "Forbidden"
    status, out, err = await run(cluster, "list", "-n", "default")
    (line,) = [line for line in out.splitlines() if line.startswith(made["id"])]
    assert "ci" in line
    assert f"default/{name}" in line
    assert "enqueue|read" in line
    secret = made["key"].split("_", 2)[2]
    assert secret not in out
    status, second, err = await run(cluster, "create", "other", "-n", "default")
    assert status == 0, err
    assert "pq_" in second
    status, out, err = await run(cluster, "revoke", made["id"], "-n", "default")
    assert status == 0, err

    async def refused() -> bool:
        return (await mine("GET", f"/v1/queues/{name}")).status == 401

    await eventually(refused, timeout_s=20)


async def test_what_cannot_be_is_refused_with_what_to_write(cluster: Any) -> None:
    for arguments, said in (
        (("create", "x", "--allow", "everything"), "'everything' is not one of enqueue, consume"),
        (("create", "x", "--queues", "email"), "shop/*"),
        (("create", "x", "--expires", "soon"), "--expires"),
        (("revoke", "nobody", "-n", "default"), "there is no key nobody"),
    ):
        status, _, err = await run(cluster, *arguments)
        assert (status, said in err) == (1, True), err

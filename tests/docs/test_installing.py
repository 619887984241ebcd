"""What the pages say about one's own environment and one's own cluster works as written."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import nats
from docs.fences import ROOT
from doors import tls_with_password
from protoqueue import NewTask, connect
from provisioning import GroupSpec, QueueSpec, provision

BIN = Path(sys.executable).parent
INSTALL = "pip install ./worker-sdk"


def test_the_sdk_installs_into_an_environment_of_ones_own(tmp_path: Path) -> None:
    assert f"`{INSTALL}` in the clone" in (ROOT / "docs/quickstart/local.md").read_text()
    subprocess.run([BIN / "uv", "venv", "-q", "-p", sys.executable, tmp_path / "own"], check=True)
    command = [BIN / "uv", "pip", "install", "-q", "-p", tmp_path / "own/bin/python", "./worker-sdk"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280)
    shown = subprocess.run([tmp_path / "own/bin/protoqueue", "--help"], capture_output=True, text=True, check=True)
    assert "enqueue" in shown.stdout


async def test_the_command_line_reads_dead_letters_over_tls_with_a_password(tmp_path: Path) -> None:
    page = (ROOT / "docs/quickstart/production.md").read_text()
    assert "PROTOQUEUE_NATS_URL='tls://queues:p%40ssword@localhost:4222'" in page
    door = tls_with_password(tmp_path / "server")
    await door.server.start()
    try:
        ca = tmp_path / "ca.crt"
        ca.write_text(door.secret["ca.crt"])
        url = f"tls://queues:{quote(door.secret['password'], safe='')}@localhost:{door.server.port}"
        nc = await nats.connect(
            door.server.url, tls=ssl.create_default_context(cafile=ca), user="queues", password=door.secret["password"]
        )
        await provision(nc, QueueSpec("invoices", namespace="billing"), (GroupSpec(),))
        async with await connect(url, ca=str(ca)) as client:
            queue = await client.queue("billing/invoices")
            await queue.enqueue_batch([NewTask({"n": 1})])
            (task,) = await queue.receive(group="mailers")
            await task.reject("refused by hand")
        environment = os.environ | {"PROTOQUEUE_NATS_URL": url, "PROTOQUEUE_NATS_CA": str(ca)}
        command = (str(BIN / "protoqueue"), "dead", "list", "billing/invoices", "-o", "json")
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert [letter["error"] for letter in json.loads(out)] == ["refused by hand"]
        await nc.close()
    finally:
        door.server.stop()

"""Python on the pages compiles, type-checks, and does what it says where it is marked to run."""

import ast
import asyncio
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import nats
import protoqueue
from docs.fences import PAGES, ROOT, Fence, all_fences, fences
from nats_server import NatsServer
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

BLOCKS = all_fences("python")
RUNNING = [page for page in PAGES if any(fence.runs for fence in fences(page, "python"))]

GIVEN = "import protoqueue\nclient: protoqueue.Client\nqueue: protoqueue.Queue\nworker: protoqueue.Worker\n"
"""What a block may take for granted, as its page does."""

MYPY = """
[mypy]
python_version = 3.11
plugins = pydantic.mypy
check_untyped_defs = True
mypy_path = $ROOT/worker-sdk/src
"""


def compiled(fence: Fence) -> Any:
    return compile(fence.text, fence.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("fence", BLOCKS, ids=lambda fence: fence.place)
def test_a_block_compiles(fence: Fence) -> None:
    compiled(fence)


def test_blocks_type_check(tmp_path: Path) -> None:
    for fence in BLOCKS:
        if not fence.only_syntax:
            name = fence.place.translate(str.maketrans("/.:-", "____"))
            (tmp_path / f"{name}.py").write_text(GIVEN + as_module(fence))
    (tmp_path / "mypy.ini").write_text(MYPY.replace("$ROOT", str(ROOT)))
    arguments = ["--config-file", "mypy.ini", "--cache-dir", str(ROOT / ".mypy_cache/docs"), "."]
    done = subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def as_module(fence: Fence) -> str:
    """A block with a bare `await` is the body of some coroutine."""
    try:
        ast.parse(fence.text)
        compile(fence.text, fence.place, "exec")
    except SyntaxError:
        return "async def body() -> None:\n" + textwrap.indent(fence.text, "    ")
    return fence.text


@pytest_asyncio.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A nats-server with the queues that the pages speak of; a failure there is final at once."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    connection = await nats.connect(server.url)
    for name in ("email", "receipts"):
        await provision(connection, QueueSpec(name), [GroupSpec("mailers", retry={"max_attempts": 1})])
    await connection.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROTOQUEUE_NATS_URL", server.url)
    for variable, value in (("PROTOQUEUE_QUEUE", "default/email"), ("PROTOQUEUE_GROUP", "mailers")):
        monkeypatch.setenv(variable, value)
    yield server.url
    server.stop()


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(ROOT)))
async def test_blocks_run(page: Path, url: str) -> None:
    async with await protoqueue.connect(url) as client:
        queue = await client.queue("default/email")
        names: dict[str, Any] = {"__name__": "page", "protoqueue": protoqueue, "client": client, "queue": queue}
        for fence in fences(page, "python"):
            if fence.runs:
                await executed(fence, names)
                names |= {"client": client, "queue": queue}
                if fence.payload is not None:
                    await finishes(names["worker"], queue, fence)


async def executed(fence: Fence, names: dict[str, Any]) -> None:
    """A block without `await` may start an event loop, so it gets a thread."""
    code = compiled(fence)
    if code.co_flags & inspect.CO_COROUTINE:
        async with asyncio.timeout(20):
            await eval(code, names)
    else:
        await asyncio.to_thread(exec, code, names)


async def finishes(worker: protoqueue.Worker, queue: protoqueue.Queue, fence: Fence) -> None:
    """The worker brings a task with the block's payload to the end the mark names."""
    await queue.purge(scheduled=True)
    await queue.enqueue(json.dumps(fence.payload).encode())
    serving = asyncio.create_task(worker.serve())

    async def is_empty() -> bool:
        stats = await queue.stats()
        return not stats.waiting + stats.in_flight + stats.scheduled

    await eventually(is_empty)
    worker.stop()
    await asyncio.wait_for(serving, 60)
    letters = [letter async for letter in queue.dead_letters()]
    for letter in letters:
        await letter.delete()
    assert [letter.reason for letter in letters] == ([fence.reason] if fence.reason else []), fence.place

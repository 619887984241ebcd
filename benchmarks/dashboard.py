"""What the list of a thousand queues costs: how soon and how large it is, how soon a change is seen, and the CPU."""

import argparse
import asyncio
import contextlib
import gzip
import json
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "gateway"))
from figures import Figure, machine, percentile, show
from gateway_process import GatewayProcess
from population import Follower, create, group, queue
from stage import Meter, Stage, add_arguments, namespace, run, staged

import protoqueue
from protoqueue_devcluster.kube.client import SECRETS
from protoqueue_gateway.auth.keys import digest_of

LIMIT_S = 1800
PAGE = "/dashboard/queues"


@dataclass
class Reader:
    """Somebody who is signed in."""

    session: aiohttp.ClientSession
    url: str

    async def sign_in(self, key: str) -> None:
        """The list is not looked at for it. A gateway that has just started knows a key within some seconds."""
        while '"signedIn":true' not in (await self.text("/dashboard/session")).replace(" ", ""):
            await asyncio.sleep(0.2)
            token = re.search(r'name="csrf" value="([^"]+)"', await self.text("/dashboard/sign-in"))
            assert token
            form = {"csrf": token[1], "key": key}
            await self.session.post(f"{self.url}/dashboard/sign-in", data=form, allow_redirects=False)

    async def text(self, path: str) -> str:
        async with self.session.get(f"{self.url}{path}") as answer:
            return await answer.text()

    async def load(self) -> tuple[float, float, bytes]:
        """Until the first byte and until the last, in seconds, and the page as it came."""
        started = time.perf_counter()
        headers = {"Accept-Encoding": "gzip", "Accept": "text/html"}
        async with self.session.get(f"{self.url}{PAGE}", headers=headers, auto_decompress=False) as answer:
            assert answer.status == 200, answer
            first = time.perf_counter() - started
            body = await answer.read()
            return first, time.perf_counter() - started, body

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with self.session.get(f"{self.url}/dashboard/live", timeout=aiohttp.ClientTimeout()) as answer:
            yield _events(answer)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    buffer = b""
    async for chunk in answer.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


async def main(options: argparse.Namespace) -> None:
    async with staged(options) as stage, namespace(stage) as where:
        print(f"making {options.queues} queues", file=sys.stderr)
        names = [f"queue-{number:04}" for number in range(options.queues)]
        async with Follower(stage.client, where).running() as follower:
            await create(
                stage.client, where, [(queue(name), group(f"{name}-group", name, template=False)) for name in names]
            )
            wanted = 2 * len(names)
            if not await follower.wait_until(lambda: len(follower.ready_at) >= wanted, 600):
                raise SystemExit(f"only {len(follower.ready_at)} of {wanted} became Ready")
        await measure(options, stage, where, names)


async def measure(options: argparse.Namespace, stage: Stage, where: str, names: list[str]) -> None:
    key = await make_key(stage)
    directory = Path(options.keep or stage.kubeconfig.parent) / "gateway"
    gateway = GatewayProcess(stage.kubeconfig, stage.nats_url, directory)
    await gateway.start()
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            reader = Reader(session, gateway.url)
            await reader.sign_in(key)
            figures = await load_figures(reader, len(names))
            figures += await latency_figures(options, stage, reader, where, names, gateway.pid)
    finally:
        await gateway.stop()
    show(f"A dashboard of {len(names)} queues, {machine()}", figures)


async def make_key(stage: Stage) -> str:
    secret = secrets.token_urlsafe(24)
    entry = json.dumps({"sha256": digest_of(secret), "allow": [{"queues": ["*"], "actions": ["admin"]}]})
    body = {
        "metadata": {"name": "bench-keys", "labels": {"protoqueue.dev/api-keys": "true"}},
        "stringData": {"bench": entry},
    }
    await stage.client.create(SECRETS, body, "default")
    return f"pq_bench_{secret}"


async def load_figures(reader: Reader, count: int) -> list[Figure]:
    cold, _, _ = await reader.load()
    loads = []
    for _ in range(30):
        await asyncio.sleep(0.2)
        loads.append(await reader.load())
    page = gzip.decompress(loads[-1][2])
    assert page.count(b"<tr><th") == count, page.count(b"<tr><th")
    paths = set(re.findall(rb'/dashboard/static/[^"]+', page))
    names = {path.rpartition(b"/")[2].decode() for path in paths} | {
        "format.js", "stream.js", "queues.js", "queue.js", "charts.js", "letters.js"
    }  # fmt: skip
    base = next(iter(paths)).rpartition(b"/")[0].decode()
    files = sum([len((await reader.text(f"{base}/{name}")).encode()) for name in names])
    firsts = [1000 * first for first, _, _ in loads]
    lasts = [1000 * last for _, last, _ in loads]
    return [
        Figure("first byte of the first page after a start", 1000 * cold, "ms", at_most=200),
        Figure("first byte, median", median(firsts), "ms", at_most=200),
        Figure("first byte, p95", percentile(firsts, 0.95), "ms", at_most=200),
        Figure("last byte, median", median(lasts), "ms"),
        Figure("first load, not compressed", (len(page) + files) / 1000, "KB", at_most=300),
        Figure("… over the wire", (len(loads[-1][2]) + files) / 1000, "KB"),
    ]


class Seen:
    """What somebody who watches the list sees."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self._changed = asyncio.Event()

    async def read(self, events: AsyncIterator[dict[str, Any]]) -> None:
        async for event in events:
            for name, cells in (event.get("set") or {}).items():
                self.waiting[name] = cells[0] or 0
            self._changed.set()

    async def more_than(self, name: str, count: int) -> None:
        while self.waiting.get(name, 0) <= count:
            self._changed.clear()
            await self._changed.wait()


async def latency_figures(
    options: argparse.Namespace, stage: Stage, reader: Reader, where: str, names: list[str], pid: int
) -> list[Figure]:
    random, figures, watching = Random(1), [], 0
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(await protoqueue.connect(stage.nats_url))
        for viewers in (1, options.viewers):
            seen = Seen()
            while watching < viewers:
                watching += 1
                events = await stack.enter_async_context(reader.stream())
                seen = Seen()
                stack.callback(asyncio.create_task(seen.read(events)).cancel)
            await asyncio.sleep(5)
            meters = {"gateway": Meter(pid), **stage.meters()}
            await asyncio.sleep(10)
            cpu = {name: 100 * meter.read() for name, meter in meters.items()}
            delays = [
                1000 * await delay(client, seen, f"{where}/{name}", random.random())
                for name in random.sample(names, options.samples)
            ]
            who = f"{viewers} {'viewer' if viewers == 1 else 'viewers'}"
            figures += [
                Figure(f"enqueue → seen, median, {who}", median(delays), "ms"),
                Figure(f"enqueue → seen, longest, {who}", max(delays), "ms", at_most=1000),
                Figure(f"gateway, {who}, nothing changes", cpu["gateway"], "% of a core"),
                Figure(f"nats-server, {who}, nothing changes", cpu.get("nats-server"), "% of a core"),
            ]
    return figures


async def delay(client: protoqueue.Client, seen: Seen, name: str, after_s: float) -> float:
    """From before a task is enqueued until a viewer's count is higher, in seconds."""
    target = await client.queue(name)
    await asyncio.sleep(after_s)
    before, started = seen.waiting.get(name, 0), time.perf_counter()
    await target.enqueue(1)
    await seen.more_than(name, before)
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--viewers", type=int, default=20, help="who watch at the same time")
    parser.add_argument("--samples", type=int, default=30, help="changes that are timed")
    add_arguments(parser)
    run(main(parser.parse_args()), LIMIT_S)

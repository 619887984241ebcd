"""One gateway process beside a bare FastAPI endpoint that echoes JSON, in one run, with `wrk` as the load generator.

What is compared takes turns round by round. Needs `wrk` on PATH (Debian: apt install wrk).
"""

import argparse
import asyncio
import base64
import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median
from urllib.parse import urlsplit

import psutil

import nats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "gateway"))
from figures import Figure, machine, percentile, show
from gateway_process import GatewayProcess

from nats_server import NatsServer
from protoqueue_devcluster.components import running_apiserver
from protoqueue_devcluster.kube.client import SECRETS, KubeClient
from protoqueue_devcluster.processes import free_port
from protoqueue_gateway.auth.keys import digest_of
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

ECHO = """
from typing import Any
import uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.post("/echo")
async def echo(body: dict[str, Any]) -> dict[str, Any]:
    return body
uvicorn.run(app, host="127.0.0.1", port={port}, loop="uvloop", http="httptools", access_log=False, log_level="warning")
"""
BODY = json.dumps({"payload": {"to": "ada@example.org", "n": 1}, "type": "welcome"})
BATCH = json.dumps({"messages": [json.loads(BODY)] * 100})


@dataclass(frozen=True)
class Place:
    """A gateway, the bare endpoint, and what one needs to ask them."""

    gateway: GatewayProcess
    echo: str
    key: str
    directory: Path
    queue: str = "bench"

    def url(self, path: str) -> str:
        return f"{self.gateway.url}/v1/queues/{self.queue}/{path}"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def place() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        server = NatsServer(directory / "nats")
        await server.start()
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
        entry = {"sha256": digest_of(secret), "allow": [{"queues": ["*"], "actions": ["admin"]}]}
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(server.kill)
            api = await stack.enter_async_context(running_apiserver(directory / "api"))
            kube = await stack.enter_async_context(KubeClient(api.kubeconfig, "benchmark"))
            data = {key_id: base64.b64encode(json.dumps(entry).encode()).decode()}
            metadata = {"name": "keys", "labels": {"protoqueue.dev/api-keys": "true"}}
            await kube.create(SECRETS, {"metadata": metadata, "data": data}, "default")
            connection = await nats.connect(server.url)
            stack.push_async_callback(connection.close)
            await provision(connection, QueueSpec("bench", limits={"max_msgs": 10_000_000}), [GroupSpec("bench")])
            gateway = GatewayProcess(api.kubeconfig, server.url, directory / "gateway")
            await gateway.start()
            stack.push_async_callback(gateway.kill)
            port = free_port()
            echo = _spawn(port)
            stack.callback(echo.wait)
            stack.callback(echo.kill)
            here = Place(gateway, f"http://127.0.0.1:{port}/echo", f"pq_{key_id}_{secret}", directory)
            await eventually(lambda: _answers(here))
            yield here


def _spawn(port: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", ECHO.format(port=port)])


async def _answers(here: Place) -> bool:
    with contextlib.suppress(OSError):
        connection = await Connection.open(here, here.url("messages"))
        is_known = (await connection.ask("POST", here.url("messages"), BODY))[0] == 201
        await connection.close()
        echo = await Connection.open(here, here.echo)
        await echo.close()
        return is_known
    return False


class Connection:
    """A plain HTTP connection: what the load generator itself costs is to be little."""

    def __init__(self, here: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._here = here
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, here: Place, url: str) -> "Connection":
        where = urlsplit(url)
        return cls(here, *await asyncio.open_connection(where.hostname, where.port))

    async def ask(self, method: str, url: str, body: str = "") -> tuple[int, bytes]:
        where = urlsplit(url)
        target = f"{where.path}?{where.query}" if where.query else where.path
        head = "".join(f"{name}: {value}\r\n" for name, value in self._here.headers.items())
        text = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
        self._writer.write(text.encode())
        head_bytes = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head_bytes.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return int(head_bytes[9:12]), await self._reader.readexactly(length)

    async def close(self) -> None:
        self._writer.close()


def wrk(here: Place, url: str, body: str, seconds: int, connections: int = 32) -> float:
    """Requests per second; raises where one was not answered with success."""
    script = here.directory / "post.lua"
    lines = (f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in here.headers.items())
    headers = "".join(lines)
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{body}]==]\n{headers}')
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(said)
    return float(said.partition("Requests/sec:")[2].split()[0])


async def paced(here: Place, rate: float, seconds: float) -> float:
    """The 99th percentile in milliseconds of single messages at an even pace, from when each is due."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(64):
        free.put_nowait(await Connection.open(here, here.url("messages")))
    times: list[float] = []

    async def one(due: float) -> None:
        connection = await free.get()
        status, _ = await connection.ask("POST", here.url("messages"), BODY)
        assert status == 201
        times.append((time.perf_counter() - due) * 1000)
        free.put_nowait(connection)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(due))
    return percentile(times, 0.99) or 0.0


async def consumed(here: Place, messages: int) -> float:
    """Tasks per second that a client works off with concurrency 50: received 50 at a time, acknowledged one by one."""
    connection = await Connection.open(here, here.url("messages"))
    for _ in range(messages // 100):
        await connection.ask("POST", here.url("messages/batch"), BATCH)
    work: asyncio.Queue[str] = asyncio.Queue(50)
    done = 0

    async def fetch() -> None:
        own = await Connection.open(here, here.url("messages"))
        while True:
            _, answer = await own.ask("GET", here.url("messages?maxMessages=50&wait=5"))
            for message in json.loads(answer)["messages"]:
                await work.put(message["receipt"])

    async def handle() -> None:
        nonlocal done
        own = await Connection.open(here, here.url("messages"))
        while True:
            status, _ = await own.ask("POST", here.url(f"messages/{await work.get()}/ack"))
            assert status == 204
            done += 1

    begun = time.perf_counter()
    tasks = [asyncio.create_task(fetch()), *(asyncio.create_task(handle()) for _ in range(50))]
    await eventually(lambda: done >= messages, interval_s=0.01)
    seconds = time.perf_counter() - begun
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return messages / seconds


async def idle(here: Place, polls_at_once: int, seconds: float) -> tuple[float, float]:
    """Memory in MB and share of a core in percent, with so many clients that wait for messages."""
    process = psutil.Process(here.gateway.pid)
    connections = [await Connection.open(here, here.url("messages")) for _ in range(polls_at_once)]
    polls = [asyncio.create_task(each.ask("GET", here.url("messages?wait=60"))) for each in connections]
    await asyncio.sleep(15)  # until all of them have begun to wait
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(seconds)
    share = (sum(process.cpu_times()[:2]) - before) / seconds * 100
    memory = process.memory_info().rss / 1e6
    for poll in polls:
        poll.cancel()
    for each in connections:
        await each.close()
    return memory, share


async def emptied(here: Place) -> None:
    connection = await Connection.open(here, here.url("purge"))
    assert (await connection.ask("POST", here.url("purge"), "{}"))[0] == 200


async def flat(here: Place, minutes: float) -> tuple[float, float, float]:
    """Memory in MB after the first tenth of the time and at its end, under load, and MB an hour that it grew between.

    The latter is the slope of a line through a reading every five seconds.
    """
    process = psutil.Process(here.gateway.pid)
    readings: list[tuple[float, float]] = []

    async def look() -> None:
        while True:
            readings.append((time.monotonic() / 3600, process.memory_info().rss / 1e6))
            await asyncio.sleep(5)

    await asyncio.to_thread(wrk, here, here.url("messages"), BODY, max(1, int(minutes * 6)))
    looking = asyncio.create_task(look())
    for number in range(9):
        await emptied(here)
        path, body = ("messages/batch", BATCH) if number % 3 == 2 else ("messages", BODY)
        await asyncio.to_thread(wrk, here, here.url(path), body, max(1, int(minutes * 6)))
    looking.cancel()
    slope, _ = linear_regression(*zip(*readings, strict=True))
    return readings[0][1], process.memory_info().rss / 1e6, slope


async def main(rounds: int, seconds: int, minutes: float, messages: int, polls: int) -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is not on PATH (Debian: apt install wrk)")
    title = machine()
    figures: list[Figure] = []
    async with place() as here:
        ratios, singles, echoes, batches = [], [], [], []
        for number in range(rounds + 1):
            echo = await asyncio.to_thread(wrk, here, here.echo, BODY, seconds)
            single = await asyncio.to_thread(wrk, here, here.url("messages"), BODY, seconds)
            batch = 100 * await asyncio.to_thread(wrk, here, here.url("messages/batch"), BATCH, seconds, 4)
            await emptied(here)
            if number:  # the first warms up
                ratios.append(single / echo)
                echoes.append(echo)
                singles.append(single)
                batches.append(batch)
        late = await paced(here, median(singles) / 2, 10)
        await emptied(here)
        rate = await consumed(here, messages)
        await emptied(here)
        memory, share = await idle(here, polls, 20)
        figures += rows(echoes, singles, ratios, batches, late, rate, memory, share, polls)
        if minutes:
            early, end, slope = await flat(here, minutes)
            figures.append(Figure(f"memory under load, after {minutes / 10:g} min", early, "MB"))
            figures.append(Figure(f"memory under load, after {minutes:g} min", end, "MB", at_most=early * 1.1))
            figures.append(Figure("growth of that", slope, "MB/h"))
    show(f"The gateway ({title})", figures)


def rows(
    echoes: list[float], singles: list[float], ratios: list[float], batches: list[float], late: float, rate: float,
    memory: float, share: float, polls: int,
) -> list[Figure]:  # fmt: skip
    return [
        Figure("bare FastAPI echo, 32 connections", median(echoes), "/s"),
        Figure("POST messages", median(singles), "/s"),
        Figure("POST messages beside the echo", median(ratios), "", at_least=0.6),
        Figure("POST messages at half that rate, p99", late, "ms", at_most=20),
        Figure("POST messages/batch, 100 each", median(batches), "tasks/s", at_least=20_000),
        Figure("consume, concurrency 50", rate, "tasks/s", at_least=2_000),
        Figure(f"{polls:,} idle long polls, memory", memory, "MB", at_most=150),
        Figure(f"{polls:,} idle long polls, CPU", share, "% of a core", at_most=3),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement with wrk")
    parser.add_argument("--minutes", type=float, default=0, help="for how long memory is watched under load")
    parser.add_argument("--messages", type=int, default=20_000, help="that are consumed")
    parser.add_argument("--polls", type=int, default=1000, help="requests that wait at the same time")
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.seconds, options.minutes, options.messages, options.polls))

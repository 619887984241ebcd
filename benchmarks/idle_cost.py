"""What queues cost nats-server while nothing happens, and how late what is due comes, in two layouts side by side.

`sourced`: new tasks in one stream, which sources from another what comes due, as in ordered queues. `in place`: all
tasks in one stream, where groups consume what is due. Both are made as the operator makes them, each on a server of its
own.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from figures import Figure, machine, percentile, show
from nats.aio.client import Client as Nats

import nats
from protoqueue.protocol.message_headers import schedule_at
from protoqueue_devcluster.processes import free_port
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.objects import Group, Queue, parse_group, parse_queue
from protoqueue_operator.jetstream.desired import group_consumers, queue_streams, standing_consumers
from protoqueue_operator.jetstream.layout import Layout, initial_layout

SOURCED, IN_PLACE = "sourced", "in place"
_MOST_MB = 0.6 * 0.88
_TOGETHER = 20
_WARM_S, _IDLE_S = 10.0, 20.0
_DUE, _DUE_WITHIN_S, _DUE_BEGINS_S = 400, 12.0, 2.0
_RECEIVED_WITHIN_S = 60.0
_CPU_TASKS = 5_000


def queue_named(name: str) -> tuple[Queue, Group]:
    meta = {"name": name, "namespace": "default", "uid": name, "generation": 1}
    meta |= {"resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    group = {"metadata": {**meta, "uid": f"{name}-group"}, "spec": {"queueRef": {"name": name}}}
    return parse_queue({"metadata": meta, "spec": {}}), parse_group(group)


class Server:
    """A nats-server in a directory of its own, which may die and come back."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._config = directory / "nats.conf"
        self._config.write_text(
            f'port: {self.port}\njetstream {{store_dir: "{directory}/data"}}\nlame_duck_duration: "30s"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> psutil.Process:
        assert self._process
        return psutil.Process(self._process.pid)

    def start(self) -> None:
        self._process = subprocess.Popen(["nats-server", "-c", str(self._config)], stderr=subprocess.DEVNULL)

    def stop(self, how: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait()

    def cpu_s(self) -> float:
        return float(sum(self.process.cpu_times()[:2]))

    def memory(self) -> int:
        return int(self.process.memory_info().rss)

    async def connect(self) -> Nats:
        while True:
            with contextlib.suppress(Exception):
                return await nats.connect(
                    f"nats://127.0.0.1:{self.port}", max_reconnect_attempts=-1, reconnect_time_wait=0.1,
                    connect_timeout=1, error_cb=_ignore,
                )  # fmt: skip
            await asyncio.sleep(0.05)


async def _ignore(_: Exception) -> None:
    """The server is killed on purpose."""


async def ask(nc: Nats, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await nc.request(f"$JS.API.{subject}", json.dumps(body).encode(), 60)).data)
    if "error" in answer:
        raise RuntimeError(f"{subject}: {answer['error']}")
    return answer


async def make(nc: Nats, name: str, *, sourced: bool) -> Layout:
    queue, group = queue_named(name)
    spec: Any = queue.spec
    of_queue = queue.name
    layout = Layout(of_queue.stream, of_queue.later_stream, sourced=True) if sourced else initial_layout(of_queue, spec)
    for stream in queue_streams(queue, spec, sourced=sourced):
        await ask(nc, f"STREAM.CREATE.{stream.name}", stream.config())
    wanted: Any = effective_spec(group.spec, spec)
    consumers = (*standing_consumers(queue, spec, layout), *group_consumers(group, wanted, spec, layout))
    for each in consumers:
        request = {"stream_name": each.stream, "config": each.config(), "action": "create"}
        await ask(nc, f"CONSUMER.CREATE.{each.stream}.{each.name}", request)
    return layout


@dataclass
class Due:
    """Tasks that come due, and when each arrived."""

    moments: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)

    def late(self, since: float = 0.0) -> list[float]:
        """Seconds, of each task, from when it was due, or from `since` where that is later."""
        return [max(0.0, at - max(self.moments[task], since)) for task, at in self.arrived.items()]

    @property
    def lost(self) -> int:
        return len(self.moments.keys() - self.arrived.keys())

    @property
    def doubled(self) -> int:
        return sum(count > 1 for count in self.times.values())


async def schedule(nc: Nats, due: Due, moments: Sequence[float], prefix: str) -> None:
    """On the queue that is measured, all at once."""
    queue, _ = queue_named("measured")
    jetstream, acks = nc.jetstream(publish_async_max_pending=4000), []
    for number, at in enumerate(moments):
        task = f"{prefix}-{number}"
        due.moments[task] = at
        headers = {
            "Nats-Msg-Id": task, "Nats-Schedule": schedule_at(datetime.fromtimestamp(at, UTC)),
            "Nats-Schedule-Target": queue.name.due(queue.name.task(1)),
        }  # fmt: skip
        acks.append(await jetstream.publish_async(queue.name.scheduled(task), task.encode(), headers=headers))
    await asyncio.gather(*acks)


@contextlib.asynccontextmanager
async def working(nc: Nats, layout: Layout, due: Due) -> AsyncIterator[None]:
    """Take what is due and acknowledge it, as a worker does."""

    # One subscription for good: what an earlier request still brings is not left lying until its lease is over.
    pull = await nc.jetstream().pull_subscribe_bind("measured_p1", layout.stream)

    async def work() -> None:
        while True:
            with contextlib.suppress(Exception):
                for message in await pull.fetch(100, timeout=1):
                    task = message.data.decode()
                    due.arrived.setdefault(task, time.time())
                    due.times[task] += 1
                    await message.ack()
                continue
            await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await pull.unsubscribe()


async def all_arrived(due: Due) -> None:
    deadline = time.monotonic() + _RECEIVED_WITHIN_S
    while due.lost and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)  # what comes twice


@dataclass
class Found:
    """Of one layout; what happened while tasks came due, by what it was."""

    idle_cores: float = 0.0
    memory_per_queue: float = 0.0
    cpu_per_task_s: float = 0.0
    due: dict[str, Due] = field(default_factory=dict)
    back_s: dict[str, float] = field(default_factory=dict)
    """When, in seconds since the epoch, the client was connected again."""


async def measure(queues: int, *, sourced: bool, restarts: bool) -> Found:
    found = Found()
    with tempfile.TemporaryDirectory(prefix="idle-cost-") as directory:
        server = Server(Path(directory))
        server.start()
        try:
            nc = await server.connect()
            before = server.memory()
            layout = await make(nc, "measured", sourced=sourced)
            for start in range(1, queues, _TOGETHER):
                numbers = range(start, min(queues, start + _TOGETHER))
                await asyncio.gather(*(make(nc, f"queue-{number}", sourced=sourced) for number in numbers))
            await asyncio.sleep(_WARM_S)
            began_s, used_s = time.monotonic(), server.cpu_s()
            await asyncio.sleep(_IDLE_S)
            found.idle_cores = (server.cpu_s() - used_s) / (time.monotonic() - began_s)
            found.memory_per_queue = (server.memory() - before) / queues
            _say(f"{queues} queues, {_NAMES[sourced]}: idle at {100 * found.idle_cores:.2f}% of a core")
            if restarts:
                found.cpu_per_task_s = await _cpu_per_task(server, nc, layout, found.idle_cores)
                for what, how in (("calm", None), ("SIGKILL", signal.SIGKILL), ("restart", signal.SIGTERM)):
                    await _come_due(server, nc, layout, found, what, how)
                    _say(f"{_NAMES[sourced]}: {what} done")
            await nc.close()
        finally:
            server.stop(signal.SIGKILL)
    return found


_NAMES = {True: SOURCED, False: IN_PLACE}


def _say(text: str) -> None:
    """So that who waits sees that it goes on."""
    print(f"… {text}", file=sys.stderr, flush=True)


async def _cpu_per_task(server: Server, nc: Nats, layout: Layout, idle_cores: float) -> float:
    due = Due()
    async with working(nc, layout, due):
        await asyncio.sleep(0.5)
        began_s, used_s = time.monotonic(), server.cpu_s()
        await schedule(nc, due, [time.time() + 3 + 2 * n / _CPU_TASKS for n in range(_CPU_TASKS)], "cpu")
        await all_arrived(due)
        return (server.cpu_s() - used_s - idle_cores * (time.monotonic() - began_s)) / _CPU_TASKS


async def _come_due(
    server: Server, nc: Nats, layout: Layout, found: Found, what: str, how: signal.Signals | None
) -> None:
    due = found.due[what] = Due()
    async with working(nc, layout, due):
        begins = time.time() + _DUE_BEGINS_S
        await schedule(nc, due, [begins + _DUE_WITHIN_S * n / _DUE for n in range(_DUE)], what)
        if how is not None:
            await asyncio.sleep(max(0.0, begins - time.time()) + _DUE_WITHIN_S / 4)
            server.stop(how)
            server.start()
            await asyncio.sleep(0.2)
            while not nc.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            found.back_s[what] = time.time()
        await all_arrived(due)


def figures(queues: int, found: dict[str, Found]) -> list[Figure]:
    most_cores = {300: 4.0, 2000: 25.0}.get(queues)
    table: list[Figure] = []
    for name, one in found.items():
        table.append(
            Figure(f"nats-server idle, {name}", 100 * one.idle_cores, "%", most_cores if name == IN_PLACE else None)
        )
    for name, one in found.items():
        most, note = (_MOST_MB, "0.6 of the 0.88 that a queue once took") if name == IN_PLACE else (None, "")
        table.append(Figure(f"memory per queue, {name}", one.memory_per_queue / 1e6, "MB", most, note))
    if len(found) == 2:
        share = found[IN_PLACE].memory_per_queue / found[SOURCED].memory_per_queue
        table.append(Figure("…, in place beside sourced", share, "", at_most=0.6))
    measured = {name: one for name, one in found.items() if one.due}
    for name, one in measured.items():
        most = 1e6 * found[SOURCED].cpu_per_task_s if name == IN_PLACE and SOURCED in measured else None
        what = f"CPU of a delayed task, {name}"
        table.append(Figure(what, 1e6 * one.cpu_per_task_s, "µs", most, "store, fire, deliver, ack"))
    for what in dict.fromkeys(each for one in measured.values() for each in one.due):
        for name, one in measured.items():
            table += _of_due(f"late, {what}, {name}, p99", one, what, 1.0 if name == IN_PLACE else None)
    return table


def _of_due(label: str, found: Found, what: str, most_s: float | None) -> list[Figure]:
    due = found.due[what]
    late = due.late(found.back_s.get(what, 0.0))
    note = f"p50 {statistics.median(late):.2f} s" if late else ""
    since = "" if what == "calm" else " beyond the reconnect"
    return [
        Figure(label, percentile(late, 0.99), "s", at_most=most_s, note=note + since),
        Figure("…, delivered twice", due.doubled, "", note=f"of {len(due.moments)}"),
        Figure("…, lost", due.lost, "", at_most=0),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, nargs="+", default=[300, 2000])
    parser.add_argument("--no-restarts", action="store_true", help="only what idling costs")
    parser.add_argument("--only", choices=[SOURCED, IN_PLACE], help="one of the two layouts")
    arguments = parser.parse_args()
    for number, queues in enumerate(arguments.queues):
        title = f"{queues} idle queues with a group each ({machine()})"
        restarts = number == 0 and not arguments.no_restarts
        names = [arguments.only] if arguments.only else [SOURCED, IN_PLACE]
        found = {name: await measure(queues, sourced=name == SOURCED, restarts=restarts) for name in names}
        show(title, figures(queues, found))


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    asyncio.run(main())

"""`protoqueue worker app:emails app:webhooks`: several workers in one process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

import protoqueue
from provisioning import GroupSpec, QueueSpec, provision
from waiting import eventually

APP = """
import asyncio, os
import protoqueue

emails, webhooks, other = protoqueue.Worker({first!r}), protoqueue.Worker({second!r}), protoqueue.Worker({first!r})

@emails.handler
async def mail(payload: str) -> None:
    print("begin mail", payload, os.getpid(), flush=True)
    await asyncio.sleep(0.5)
    print("end mail", payload, flush=True)

@webhooks.handler
async def call(payload: str) -> None:
    print("call", payload, os.getpid(), flush=True)

@other.handler
async def more(payload: str) -> None: ...
"""


Queues: TypeAlias = tuple[protoqueue.Queue, protoqueue.Queue]


class Process:
    def __init__(self, directory: Path, url: str, *targets: str) -> None:
        self._log = directory / "log"
        environment = os.environ | {"PROTOQUEUE_NATS_URL": url}
        command = [str(Path(sys.executable).parent / "protoqueue"), "worker", *targets]
        with self._log.open("ab") as log:
            self.running = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest_asyncio.fixture
async def queues(nc, client: protoqueue.Client, queue_name: str, tmp_path: Path) -> Queues:
    for name in (queue_name, f"{queue_name}b"):
        await provision(nc, QueueSpec(name), [GroupSpec(visibility_s=2.0)])
    first, second = await client.queue(f"default/{queue_name}"), await client.queue(f"default/{queue_name}b")
    (tmp_path / "app.py").write_text(APP.format(first=first.name, second=second.name))
    return first, second


async def test_one_process_works_on_several_queues_and_one_signal_lets_all_finish(
    queues, server, tmp_path: Path
) -> None:
    first, second = queues
    process = Process(tmp_path, server.url, "app:emails", "app:webhooks")
    try:
        await first.enqueue("a")
        await second.enqueue("b")
        await eventually(lambda: "begin mail a" in process.said and "call b" in process.said)
        assert f"begin mail a {process.running.pid}" in process.said
        assert f"call b {process.running.pid}" in process.said
        await first.enqueue("c")
        await eventually(lambda: "begin mail c" in process.said)
        process.running.send_signal(signal.SIGTERM)
        await eventually(lambda: process.running.poll() is not None)
        assert process.running.returncode == 0
        assert "end mail c" in process.said
    finally:
        process.running.kill()


async def test_what_a_killed_process_held_of_each_queue_runs_again(queues, server, tmp_path: Path) -> None:
    first, second = queues
    process = Process(tmp_path, server.url, "app:emails", "app:webhooks")
    await first.enqueue("a")
    await eventually(lambda: "begin mail a" in process.said)
    process.running.kill()
    process.running.wait()
    again = Process(tmp_path, server.url, "app:emails", "app:webhooks")
    try:
        await second.enqueue("b")
        await eventually(lambda: f"call b {again.running.pid}" in again.said)
        await eventually(lambda: "end mail a" in again.said)
        await eventually(lambda: _is_empty(first))
    finally:
        again.running.kill()


async def _is_empty(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return not (stats.waiting or stats.in_flight)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["app:emails", "app:other"], "two workers are for"),
        (["app:emails", "app:webhooks", "--queue", "default/x"], "--queue is for one worker"),
        (["app:emails", "app:missing"], "module app has no missing"),
    ],
)
async def test_what_cannot_run_together_is_refused(queues, server, tmp_path: Path, targets, said) -> None:
    process = Process(tmp_path, server.url, *targets)
    await eventually(lambda: process.running.poll() is not None)
    assert process.running.returncode != 0
    assert said in process.said

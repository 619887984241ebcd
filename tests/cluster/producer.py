"""A producer that has a connection Secret mounted, as an application's pod would."""

from pathlib import Path

import pytest

import protoqueue
from cluster.lab import Lab


def mounted(directory: Path, values: dict[str, str]) -> Path:
    """As a Secret volume shows them."""
    directory.mkdir(exist_ok=True)
    for name, content in values.items():
        (directory / name).write_text(content)
    return directory


async def enqueue(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: dict[str, str], *numbers: int) -> None:
    """Into the queue email of the lab's namespace, a task for each number."""
    monkeypatch.setenv("PROTOQUEUE_NATS_SECRET_DIR", str(mounted(lab.directory / "producer", secret)))
    async with await protoqueue.connect(secret["url"]) as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for number in numbers:
            await queue.enqueue({"n": number})

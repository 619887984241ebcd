"""Forty people sign up at two web applications, ten of them at both."""

import asyncio
import contextlib
import json
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

from run import Check, Stage

import protoqueue

HERE = Path(__file__).parent
AT_FASTAPI = [f"user{number}@example.org" for number in range(25)]
AT_FLASK = [f"user{number}@example.org" for number in range(15, 40)]


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    queue = await client.queue("default/signups")
    async with (
        serving(stage, "uvicorn", "fastapi_app:app", "--port") as fastapi,
        serving(stage, "flask", "--app", "flask_app", "run", "--port") as flask,
    ):
        visits = [(fastapi, email) for email in AT_FASTAPI] + [(flask, email) for email in AT_FLASK]
        answers = await asyncio.gather(*(asyncio.to_thread(sign_up, *visit) for visit in visits))
    await stage.drained(queue)
    letters = [path.read_text() for path in stage.directory.glob("*.txt")]
    duplicates = sum(bool(answer["duplicate"]) for answer in answers)
    return [
        Check(f"{len(answers)} forms were sent, {duplicates} of them a second time", duplicates == 10),
        Check(f"{len(letters)} letters were written, one for each address", len(set(letters)) == len(letters) == 40),
    ]


@contextlib.asynccontextmanager
async def serving(stage: Stage, *command: str) -> AsyncIterator[str]:
    """The address of a web server that runs meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (sys.executable, "-m", *command, str(port))
    with (stage.directory / f"{command[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*program, cwd=HERE, stdout=log, stderr=log)
    try:
        await stage.until(lambda: asyncio.to_thread(answers, port), f"{command[0]} answers")
        yield f"http://127.0.0.1:{port}/signups"
    finally:
        process.terminate()
        await process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def sign_up(url: str, email: str) -> dict[str, object]:
    """Send the form; raises HTTPError."""
    body = json.dumps({"email": email}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        received: dict[str, object] = json.load(answer)
    return received

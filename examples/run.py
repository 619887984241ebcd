"""Run one example on a cluster that this script starts and stops: `python examples/run.py email`.

An example is a folder with `manifests.yaml`, `workers.py` and `scenario.py`. The scenario holds one coroutine,
`play(client, stage) -> list[Check]`: it feeds the queues, waits until the work is done and says what it found.
Exits with 1 when a check does not hold, when the scenario takes longer than two minutes, and when a command fails.
"""

import asyncio
import importlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import protoqueue

HERE = Path(__file__).parent
ENOUGH_S = 120
LOOK_AGAIN_S = 0.2
console = Console(highlight=False)


@dataclass(frozen=True)
class Check:
    """What ought to be so, and whether it was."""

    statement: str
    holds: bool


@dataclass(frozen=True)
class Stage:
    """What a scenario plays on: a directory that workers may write to, kubectl, and patience."""

    directory: Path

    def kubectl(self, *words: str) -> None:
        """Show a command and run it; raises CalledProcessError."""
        run("kubectl", *words)

    async def workers(self, group: str) -> int:
        """How many workers the Deployment of a group is to have now."""
        command = ("kubectl", "get", "deployment", group, "-o", "jsonpath={.spec.replicas}")
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        return int((await process.communicate())[0] or 0)

    async def until(self, probe: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition; the whole scenario's time bounds it."""
        console.print(f"[dim]waiting until {what}[/]")
        while True:
            if await probe():
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def drained(self, queue: protoqueue.Queue) -> None:
        """Wait until nothing is ready, in flight or scheduled, and print the counts as they change."""
        shown = None
        async for stats in self._samples(queue):
            now = (stats.ready, stats.in_flight, stats.scheduled, stats.dead)
            if now != shown:
                console.print("ready {:>5}   in flight {:>3}   scheduled {:>3}   dead {:>3}".format(*now))
                shown = now
            if not any(now[:3]):
                return

    async def _samples(self, queue: protoqueue.Queue) -> AsyncIterator[protoqueue.QueueStats]:
        while True:
            yield await queue.stats()
            await asyncio.sleep(LOOK_AGAIN_S)


def main(name: str) -> int:
    example = HERE / name
    if not (example / "scenario.py").exists():
        known = ", ".join(sorted(path.parent.name for path in HERE.glob("*/scenario.py")))
        console.print(f"there is no example {name!r}; there are {known}", style="red", soft_wrap=True)
        return 2
    # protoqueue and kubectl lie beside this Python, whether or not its environment is activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.path.insert(0, str(example))
    sys.modules["run"] = sys.modules[__name__]  # what scenarios import is this module, not a second copy
    state = Path(tempfile.mkdtemp(prefix=f"protoqueue-{name}-"))
    (state / "results").mkdir()
    try:
        run("protoqueue", "up", "--detach", "--dir", state, "--workdir", example)
        os.environ |= environment_of(state)
        return asyncio.run(perform(example, state / "results"))
    except subprocess.CalledProcessError as error:
        console.print(f"{shlex.join(error.cmd)} failed", style="bold red")
        return 1
    except TimeoutError:
        console.print(f"not done within {ENOUGH_S} s", style="bold red")
        return 1
    finally:
        run("protoqueue", "down", "--dir", state, "--purge")
        shutil.rmtree(state, ignore_errors=True)


async def perform(example: Path, results: Path) -> int:
    run("kubectl", "create", "configmap", "example", f"--from-literal=directory={results}")
    run("kubectl", "apply", "-f", example / "manifests.yaml")
    run("kubectl", "wait", "--for=condition=Ready", "queue,consumergroup", "--all", "--timeout=60s")
    scenario = importlib.import_module("scenario")
    async with asyncio.timeout(ENOUGH_S), await protoqueue.connect() as client:
        checks: list[Check] = await scenario.play(client, Stage(results))
    # Counts in a status are up to five seconds old.
    run("kubectl", "wait", "--for=jsonpath={.status.tasks.ready}=0", "queue", "--all", "--timeout=30s")
    run("kubectl", "get", "queues,consumergroups")
    for check in checks:
        mark, style = ("✓", "green") if check.holds else ("✗", "bold red")
        console.print(f"{mark} {check.statement}", style=style, soft_wrap=True)
    return 0 if checks and all(check.holds for check in checks) else 1


def run(*command: str | Path) -> None:
    """Show a command and run it; raises CalledProcessError."""
    words = [str(word) for word in command]
    console.print(f"[bold cyan]$ {shlex.join(words)}[/]", soft_wrap=True)
    subprocess.run(words, check=True)


def environment_of(state: Path) -> dict[str, str]:
    """The variables of the file `env` that `protoqueue up` leaves for shells to source."""
    lines = (line.removeprefix("export ") for line in (state / "env").read_text().splitlines())
    return dict(shlex.split(line)[0].split("=", 1) for line in lines if "=" in line)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which example? make example NAME=email")
    sys.exit(main(sys.argv[1]))

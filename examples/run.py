"""Run one example on a cluster that this script starts and stops: `python examples/run.py email`.

With `--keep` the cluster is left running, so that one can look at it.

An example is a folder with `manifests.yaml`, `workers.py` and `scenario.py`. The scenario holds one coroutine,
`play(client, stage) -> list[Check]`: it feeds the queues, waits until the work is done and says what it found.
Exits with 1 when a check does not hold, when the scenario takes longer than two minutes, and when a command fails.
"""

import asyncio
import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

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

    def curl(self, path: str, *words: str, quietly: bool = False) -> Any:
        """Ask the gateway, and show how unless `quietly`; returns the JSON it answers. Raises CalledProcessError."""
        key = '-H "Authorization: Bearer $PROTOQUEUE_API_KEY"'
        command = f'curl -sSf "$PROTOQUEUE_GATEWAY_URL{path}" {key} {shlex.join(words)}'.rstrip()
        if not quietly:
            console.print(f"[bold cyan]$ {escape(command)}[/]", soft_wrap=True)
        done = subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, text=True)
        if not quietly:
            console.print(done.stdout, soft_wrap=True, markup=False)
        return json.loads(done.stdout)

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
        """Wait until nothing is waiting, in flight or scheduled, and print the counts as they change."""
        shown = None
        async for stats in self._samples(queue):
            now = (stats.waiting, stats.in_flight, stats.scheduled, stats.dead)
            if now != shown:
                console.print("waiting {:>5}   in flight {:>3}   scheduled {:>3}   dead {:>3}".format(*now))
                shown = now
            if not any(now[:3]):
                return

    async def _samples(self, queue: protoqueue.Queue) -> AsyncIterator[protoqueue.QueueStats]:
        while True:
            yield await queue.stats()
            await asyncio.sleep(LOOK_AGAIN_S)


def main(name: str, *, keep: bool = False) -> int:
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
        if keep:
            console.print(where_to_look(state), soft_wrap=True)
        else:
            if url := os.environ.get("PROTOQUEUE_GATEWAY_URL"):
                console.print(
                    f"[dim]With KEEP=1 it goes on, and you can look at it at {url}/dashboard[/]", soft_wrap=True
                )
            run("protoqueue", "down", "--dir", state, "--purge")
            shutil.rmtree(state, ignore_errors=True)


def where_to_look(state: Path) -> str:
    """What stands at the end of an example that is left running."""
    url, key = os.environ.get("PROTOQUEUE_GATEWAY_URL", ""), os.environ.get("PROTOQUEUE_API_KEY", "")
    return (
        f"\n[bold]Look at it:[/] {url}/dashboard with the key {key}\n"
        f"For kubectl and protoqueue: source {state}/env. `protoqueue down --dir {state} --purge` ends it."
    )


async def perform(example: Path, results: Path) -> int:
    run("kubectl", "create", "configmap", "example", f"--from-literal=directory={results}")
    run("kubectl", "apply", "-f", example / "manifests.yaml")
    run("kubectl", "wait", "--for=condition=Ready", "queue,consumergroup", "--all", "--timeout=60s")
    scenario = importlib.import_module("scenario")
    async with asyncio.timeout(ENOUGH_S), await protoqueue.connect() as client:
        checks: list[Check] = await scenario.play(client, Stage(results))
        await until_statuses_are_true(client)
    run("kubectl", "get", "queues,consumergroups")
    for check in checks:
        mark, style = ("✓", "green") if check.holds else ("✗", "bold red")
        console.print(f"{mark} {check.statement}", style=style, soft_wrap=True)
    return 0 if checks and all(check.holds for check in checks) else 1


async def until_statuses_are_true(client: protoqueue.Client) -> None:
    """Counts in a status are up to five seconds old: wait until every resource says what JetStream and pods say."""
    while True:
        if all([await status_is_true(client, item) for item in await asyncio.to_thread(read_resources)]):
            return
        await asyncio.sleep(LOOK_AGAIN_S)


def read_resources() -> list[dict[str, Any]]:
    """Every Queue, and every ConsumerGroup with its Deployment, if it has one, under `deployment`."""
    command = ("kubectl", "get", "queues,consumergroups,deployments", "-A", "-o", "json")
    items = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["items"]
    deployments = {item["metadata"]["name"]: item for item in items if item["kind"] == "Deployment"}
    found = [item for item in items if item["kind"] != "Deployment"]
    return [item | {"deployment": deployments.get(item["metadata"]["name"], {})} for item in found]


async def status_is_true(client: protoqueue.Client, item: dict[str, Any]) -> bool:
    meta, status = item["metadata"], item.get("status", {})
    if item["kind"] == "Queue":
        stats = await (await client.queue(f"{meta['namespace']}/{meta['name']}")).stats()
        counts = ("waiting", stats.waiting), ("inFlight", stats.in_flight), ("dead", stats.dead)
        return all(status.get("tasks", {}).get(name) == count for name, count in counts)
    pods = item["deployment"].get("status", {}).get("replicas", 0)
    return bool(status.get("replicas", 0) == pods)


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
    names = [argument for argument in sys.argv[1:] if argument != "--keep"]
    if len(names) != 1:
        sys.exit("which example? make example NAME=email")
    sys.exit(main(names[0], keep="--keep" in sys.argv))

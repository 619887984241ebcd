"""`protoqueue logs`: what the workers of a queue print, of all their pods, with the user's own kubectl."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from protoqueue.cli import kubectl
from protoqueue.cli.failure import fail
from protoqueue.cli.output import GroupOption, QueueArgument, run_async
from protoqueue.cli.table import printable
from protoqueue.diagnosis.resources import StartedPod, started_pods, workers_of
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.names import QueueName

_LOOK_AGAIN_S = 2.0
_LONGEST_LINE = 1024 * 1024


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    queue: QueueArgument,
    group: GroupOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, also with new pods.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="What containers printed that were restarted since.")
    ] = False,
    tail: Annotated[int, typer.Option(min=-1, help="Last lines of each pod; -1: all.")] = 100,
    since: Annotated[str | None, typer.Option(metavar="DURATION", help="Only newer lines, such as 10m.")] = None,
) -> None:
    """Show what the workers of a queue print, or those of one group. Requires kubectl.

    Each line begins with its pod and container. Exits with status 1 if there is no pod.
    """
    options = ["--tail", str(tail), *(["--since", since] if since else []), *(["--previous"] if previous else [])]
    try:
        name = QueueName.parse(queue)
    except ValueError as error:
        fail(str(error))

    async def run() -> bool:
        try:
            groups = await asyncio.to_thread(_groups, name, group)
            printing = Printing(name, groups, options, only_restarted=previous)
            if follow and not previous:
                await printing.follow()
            return await printing.once()
        except kubectl.KubectlFailed as error:
            raise ConfigurationError(str(error)) from error

    if not run_async(run):
        which = f"the group {group}" if group else "the queue's groups"
        what = "no pod was restarted" if previous else "there is no pod"
        fail(f"{what} of {which}: `protoqueue why {queue}` says why")


def _groups(name: QueueName, only: str | None) -> dict[str, str]:
    """Labels of the workers' pods, by group."""
    found = workers_of(kubectl.get("consumergroups.protoqueue.dev", "-n", name.namespace)["items"], name.name)
    if only is not None and only not in found:
        raise ConfigurationError(f"queue {name} has no group {only} with workers of the operator's")
    return {group: labels for group, labels in found.items() if only in (None, group)}


@dataclass(frozen=True)
class _Log:
    """One start of a pod's containers, which has a log of its own."""

    pod: str
    restarts: int


class Printing:
    """The logs of the pods of some groups, each by a kubectl of its own."""

    def __init__(
        self, name: QueueName, groups: dict[str, str], options: Sequence[str], *, only_restarted: bool = False
    ) -> None:
        self._name = name
        self._groups = groups
        self._options = options
        self._only_restarted = only_restarted

    async def once(self) -> bool:
        """Print what there is, pod by pod; whether there was any. Raises KubectlFailed."""
        found = [log for log in await self._pods() if log.restarts or not self._only_restarted]
        for log in found:
            await self._print(log, self._options)
        return bool(found)

    async def follow(self) -> None:
        """Go on until cancelled. Raises KubectlFailed where pods cannot be listed in the beginning."""
        followed: dict[_Log, asyncio.Task[None]] = {}
        is_first = True
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    found = await self._pods()
                except kubectl.KubectlFailed:
                    if is_first:
                        raise
                    found = []  # the API server is away: what is followed goes on
                if is_first and not found:
                    typer.echo("waiting for pods", err=True)
                for log in found:
                    if log not in followed:
                        options = self._options if is_first else ("--tail", "-1")
                        followed[log] = tasks.create_task(self._print(log, [*options, "--follow"]))
                is_first = False
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _pods(self) -> list[_Log]:
        lists = [
            await asyncio.to_thread(kubectl.get, "pods", "-n", self._name.namespace, "-l", labels)
            for labels in sorted(set(self._groups.values()))
        ]
        pods: list[StartedPod] = [each for found in lists for each in started_pods(found["items"])]
        return [_Log(each.name, each.restarts) for each in pods if each.has_log]

    async def _print(self, log: _Log, options: Sequence[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            "kubectl", "logs", log.pod, "-n", self._name.namespace, "--all-containers", "--prefix", *options,
            stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
        )  # fmt: skip
        assert process.stdout
        try:
            async for line in process.stdout:
                sys.stdout.write(printable(line.decode(errors="replace").rstrip("\n")) + "\n")
                sys.stdout.flush()
            await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

"""What the workers of a cluster print and how they end, line by line, as long as `protoqueue up` shows it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiohttp

from protoqueue_devcluster.kube.client import PODS, ApiError, KubeClient, Object
from protoqueue_devcluster.kube.informer import Informer

Show = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """One start of a container: what has a log of its own."""

    namespace: str
    pod: str
    container: str
    restarts: int
    uid: str


@dataclass(frozen=True)
class Crash:
    """An end of a container that was not asked for."""

    start: Start
    reason: str
    exit_code: int
    is_previous: bool
    """Whether the container has been started again since: its log is that of the start before."""

    def __str__(self) -> str:
        where = f"{self.start.namespace}/{self.start.pod}"
        return f"{where}: container {self.start.container} exited with code {self.exit_code} ({self.reason})"


class WorkerLogs:
    """Follows every container of every pod; what its pods printed before is shown too."""

    def __init__(self, client: KubeClient, show: Show) -> None:
        self._client, self._show = client, show
        self._followed: dict[Start, asyncio.Task[None]] = {}
        self._told: set[Start] = set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        pods = Informer(self._client, PODS)
        pods.listen(lambda _: self._changed.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(pods.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                for pod in pods:
                    for start in begun(pod):
                        if start not in self._followed:
                            self._followed[start] = group.create_task(self._follow(start))
                    for crash in crashes(pod):
                        if crash.start not in self._told:
                            self._told.add(crash.start)
                            group.create_task(self._tell(crash))

    async def _tell(self, crash: Crash) -> None:
        """Show the end after what was printed before; a start that was too short to be followed is read now."""
        if crash.start in self._followed:
            await asyncio.wait([self._followed[crash.start]])
        else:
            await self._follow(crash.start, previous=crash.is_previous)
        self._show(str(crash))

    async def _follow(self, start: Start, *, previous: bool = False) -> None:
        """Show the log of one start to its end; what is gone by now is left out."""
        with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
            async for line in self._client.log_lines(start.pod, start.namespace, start.container, previous=previous):
                self._show(f"{start.pod} {line}")


def begun(pod: Object) -> Iterator[Start]:
    """Pure. The starts of a pod's containers that have a log now."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if "running" in (status.get("state") or {}):
            yield _start(pod, status, status.get("restartCount", 0))


def crashes(pod: Object) -> Iterator[Crash]:
    """Pure. Containers that ended with another code than 0, while nobody was deleting their pod."""
    if pod["metadata"].get("deletionTimestamp"):
        return
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        restarts = status.get("restartCount", 0)
        for place, number in (("state", restarts), ("lastState", restarts - 1)):
            end = (status.get(place) or {}).get("terminated")
            if end and end.get("exitCode"):
                start = _start(pod, status, number)
                yield Crash(start, end.get("reason") or "Error", end["exitCode"], is_previous=place == "lastState")


def _start(pod: Object, status: Object, restarts: int) -> Start:
    meta = pod["metadata"]
    return Start(meta["namespace"], meta["name"], status["name"], restarts, meta["uid"])

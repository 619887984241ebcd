"""One container as a process: started, watched, restarted, stopped."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from protoqueue_devcluster.kube.client import PODS, ApiError, Object
from protoqueue_devcluster.kube.events import EventRecorder, Occurrence
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.node.environment import Invocation, invocation
from protoqueue_devcluster.node.logs import record_output
from protoqueue_devcluster.node.podspec import Container, PodSpec
from protoqueue_devcluster.node.probes import Prober, parse_probe
from protoqueue_devcluster.node.sources import ConfigurationMissing, Sources
from protoqueue_devcluster.node.states import (
    CREATING,
    ContainerStatus,
    Running,
    Terminated,
    Waiting,
    previous_life,
    restart_delay_s,
    restarts_after,
    terminated,
)
from protoqueue_devcluster.node.volumes import mounted_paths
from protoqueue_devcluster.processes import Command, Process, spawn

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0
_HEALTHY_FOR_S = 600.0


@dataclass(frozen=True)
class Surroundings:
    """What all containers of a node share."""

    sources: Sources
    lifeline: Lifeline
    working_dir: Path
    restart_backoff_s: float
    events: EventRecorder


class ContainerRunner:
    """Runs one container until its restart policy is satisfied or it is stopped; `status` is always current."""

    def __init__(
        self, pod: PodSpec, container: Container, root: Path, around: Surroundings, changed: Callable[[], None]
    ) -> None:
        self._pod, self._container, self._root, self._around = pod, container, root, around
        self._changed = changed
        self._paths = mounted_paths(root, pod, container)
        self._stopping = asyncio.Event()
        self._process: Process | None = None
        self._grace_s = pod.grace_s
        self.status = ContainerStatus(container.name, container.image, CREATING)

    def resume(self, entry: Object) -> None:
        """Continue the account of a former node process, from the container status the API server has."""
        restarts, last = previous_life(entry, datetime.now(UTC))
        self.status = replace(self.status, restarts=restarts, last=last)

    def wait_with(self, state: Waiting) -> None:
        """Show why the container has not started yet."""
        self._set(state=state)

    def log_path(self, restarts: int | None = None) -> Path:
        number = self.status.restarts if restarts is None else restarts
        return self._root / self._container.name / f"{number}.log"

    @property
    def is_running(self) -> bool:
        return isinstance(self.status.state, Running)

    async def run(self, policy: str) -> None:
        """Run until the container has ended for good or `stop` was called."""
        if self.status.last is not None:  # it ran under a former node process
            if not restarts_after(policy, self.status.last):
                self._set(state=self.status.last, last=None)
                return
            self._set(restarts=self.status.restarts + 1)
        if not (self._container.command or self._container.arguments):
            self._wait_in_trouble("ErrImagePull", _NO_COMMAND.format(self._container.image))
            await self._stopping.wait()
            self._set(state=_never_started())
            return
        failures = 0
        while not self._stopping.is_set():
            run = await self._prepare()
            if run is None:
                break
            end = await self._run_once(run)
            if self._stopping.is_set() or not restarts_after(policy, end):
                return
            ran_s = (end.finished_at - end.started_at).total_seconds()
            failures = 1 if ran_s >= _HEALTHY_FOR_S else failures + 1
            await self._back_off(end, restart_delay_s(failures, self._around.restart_backoff_s))
        if not isinstance(self.status.state, Terminated):
            self._set(state=self.status.last or _never_started())

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace period, no restart. Called again with less grace it hurries."""
        self._stopping.set()
        self._grace_s = grace_s
        if self._process is not None:
            self._tell("Killing", f"Stopping container {self._container.name}")
            await self._process.stop(grace_s)

    async def _prepare(self) -> Invocation | None:
        """Resolve what the container refers to, as often as it takes; None if it is stopped meanwhile."""
        while not self._stopping.is_set():
            try:
                return await invocation(self._pod, self._container, self._around.sources, self._paths)
            except ConfigurationMissing as missing:
                self._wait_in_trouble("CreateContainerConfigError", str(missing))
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                self._wait_in_trouble("CreateContainerConfigError", f"the API server could not be asked: {error}")
            await self._pause(_LOOK_AGAIN_S)
        return None

    async def _run_once(self, run: Invocation) -> Terminated:
        """Start, watch until the end, and report it."""
        started_at = datetime.now(UTC)
        working_dir = Path(run.working_dir) if run.working_dir else self._around.working_dir
        command = Command(self._container.name, run.arguments, run.env, self.log_path(), working_dir)
        command.log.parent.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        recording = asyncio.create_task(record_output(read_end, command.log))
        try:
            self._process = process = await spawn(command, self._around.lifeline, write_end)
        except OSError as error:
            end = Terminated(128, "StartError", started_at, datetime.now(UTC), str(error))
            self._set(state=end, ready=False, started=False)
            self._tell("Failed", f"Error: {error}", warning=True)
            return end
        finally:
            os.close(write_end)
        log.info("container started pod=%s container=%s pid=%d", self._pod, self._container.name, process.pid)
        self._tell("Started", f"Started container {self._container.name}, process {process.pid}")
        self._begin(started_at)
        try:
            ports, lifeline = self._container.ports, self._around.lifeline
            code = await self._watch(process, Prober(run, self._paths, ports, working_dir, lifeline))
        finally:
            process.kill()
        self._process = None
        # Whoever left the process group may hold the pipe for ever; the container has ended all the same.
        await asyncio.wait([recording], timeout=2)
        recording.cancel()
        end = terminated(code, started_at, datetime.now(UTC))
        log.info("container ended pod=%s container=%s exit_code=%d", self._pod, self._container.name, end.exit_code)
        self._set(state=end, ready=False, started=False)
        return end

    def _begin(self, started_at: datetime) -> None:
        started = self._container.startup_probe is None
        ready = started and self._container.readiness_probe is None
        self._set(state=Running(started_at), started=started, ready=ready)

    async def _watch(self, process: Process, prober: Prober) -> int:
        """Wait for the end with the probes running beside."""
        if self._stopping.is_set():  # stopped while the process was being started
            return await process.stop(self._grace_s)
        probing = asyncio.create_task(self._probe(process, prober))
        try:
            return await process.wait()
        finally:
            probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probing

    async def _probe(self, process: Process, prober: Prober) -> None:
        """Startup first; then readiness and liveness side by side."""
        container = self._container
        started = asyncio.Event()

        async def on_startup(healthy: bool) -> None:
            if healthy:
                started.set()
            else:
                await self._fail(process, "startup")

        async def on_readiness(healthy: bool) -> None:
            if self.status.ready != healthy:
                self._set(ready=healthy)

        async def on_liveness(healthy: bool) -> None:
            if not healthy:
                await self._fail(process, "liveness")

        if container.startup_probe:
            startup = asyncio.create_task(prober.follow(parse_probe(container.startup_probe), on_startup))
            try:
                await started.wait()
            finally:
                startup.cancel()
            self._set(started=True, ready=container.readiness_probe is None)
        async with asyncio.TaskGroup() as group:
            if container.readiness_probe:
                group.create_task(prober.follow(parse_probe(container.readiness_probe), on_readiness))
            if container.liveness_probe:
                group.create_task(prober.follow(parse_probe(container.liveness_probe), on_liveness))

    async def _fail(self, process: Process, probe: str) -> None:
        name = self._container.name
        log.warning("%s probe failed, stopping pod=%s container=%s", probe, self._pod, name)
        self._tell("Unhealthy", f"Container {name} failed its {probe} probe, will be restarted", warning=True)
        await process.stop(self._grace_s)

    async def _back_off(self, end: Terminated, delay_s: float) -> None:
        if delay_s:
            name = f"{self._container.name} pod={self._pod.name}_{self._pod.namespace}({self._pod.uid})"
            message = f"back-off {delay_s:g}s restarting failed container={name}"
            self._set(state=Waiting("CrashLoopBackOff", message), last=end)
            self._tell("BackOff", f"Back-off restarting failed container {name}", warning=True)
            await self._pause(delay_s)
        if not self._stopping.is_set():
            self._set(last=end, restarts=self.status.restarts + 1)

    async def _pause(self, delay_s: float) -> None:
        """Sleep, but not through a stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def _wait_in_trouble(self, reason: str, message: str) -> None:
        state = Waiting(reason, message)
        if self.status.state != state:
            self._set(state=state)
            self._tell("Failed", f"{reason}: {message}", warning=True)

    def _tell(self, reason: str, message: str, warning: bool = False) -> None:
        pod, path = self._pod, f"spec.containers{{{self._container.name}}}"
        self._around.events.record(Occurrence(PODS, pod.namespace, pod.name, pod.uid, reason, message, warning, path))

    def _set(self, **fields: object) -> None:
        updated = replace(self.status, **fields)  # type: ignore[arg-type]
        if updated != self.status:
            self.status = updated
            self._changed()


_NO_COMMAND = (
    "a process node runs commands of this machine, not images: set `command` (or `args`) of the container, image {!r} "
    "is not looked at"
)


def _never_started() -> Terminated:
    now = datetime.now(UTC)
    return Terminated(137, "ContainerStatusUnknown", now, now, "stopped before it started")

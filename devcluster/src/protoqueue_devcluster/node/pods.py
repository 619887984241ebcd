"""One pod on this node, from its binding to its deletion."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from protoqueue_devcluster.kube.client import PODS, ApiError, KubeClient, Object
from protoqueue_devcluster.node.containers import ContainerRunner, Surroundings
from protoqueue_devcluster.node.podspec import Container, PodSpec, parse_pod
from protoqueue_devcluster.node.sources import ConfigurationMissing
from protoqueue_devcluster.node.states import (
    CREATING,
    INITIALIZING,
    Terminated,
    Waiting,
    parse_timestamp,
    pod_status,
)
from protoqueue_devcluster.node.volumes import follows_sources, materialise, remove_volumes

log = logging.getLogger(__name__)

_TROUBLE = (ApiError, aiohttp.ClientError, TimeoutError)


@dataclass(frozen=True)
class PodPlace:
    """Where pods live and whom to tell of them."""

    client: KubeClient
    around: Surroundings
    directory: Path
    refresh_s: float = 30.0


class PodRunner:
    """Runs a pod's containers, publishes its status, and deletes the object once it is terminated."""

    def __init__(self, pod: Object, place: PodPlace) -> None:
        self.spec: PodSpec = parse_pod(pod)
        self._place = place
        self._observed: Object = pod
        self._root = place.directory / f"{self.spec.namespace}_{self.spec.name}_{self.spec.uid}"
        status = pod.get("status") or {}
        started = status.get("startTime")
        self._started_at = parse_timestamp(started) if started else datetime.now(UTC)
        self._changed = asyncio.Event()
        self._terminating = asyncio.Event()
        self._grace_s: float | None = None
        self._over = False
        self._init = [self._runner(c, status.get("initContainerStatuses")) for c in self.spec.init_containers]
        self._main = [self._runner(c, status.get("containerStatuses")) for c in self.spec.containers]
        self._stops: set[asyncio.Task[None]] = set()

    def container(self, name: str) -> ContainerRunner | None:
        runners = zip((*self.spec.init_containers, *self.spec.containers), (*self._init, *self._main), strict=True)
        return next((runner for container, runner in runners if container.name == name), None)

    def observe(self, pod: Object) -> None:
        """Take note of the object's newest state; a deletion or a shortened grace period is acted on at once."""
        self._observed = pod
        if "deletionTimestamp" in pod["metadata"]:
            self.terminate(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    def terminate(self, grace_s: float) -> None:
        """Stop all containers; the kubelet grants at least one second."""
        grace_s = max(1.0, grace_s)
        if self._grace_s is not None and grace_s >= self._grace_s:
            return
        self._grace_s = grace_s
        self._terminating.set()
        for runner in (*self._init, *self._main):
            task = asyncio.create_task(runner.stop(grace_s))
            self._stops.add(task)
            task.add_done_callback(self._stops.discard)

    async def run(self) -> None:
        """Run the pod; returns when the pod is terminated and its object is gone or not ours any more."""
        publishing = asyncio.create_task(self._publish())
        try:
            if self._status().get("phase") not in ("Succeeded", "Failed"):
                await self._run_containers()
            await self._terminating.wait()
        finally:
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing
        await self._finish()

    async def stop(self, grace_s: float) -> None:
        """Stop the containers and leave the object: the node goes, the pod may come back with it."""
        await asyncio.gather(*(runner.stop(min(grace_s, self.spec.grace_s)) for runner in (*self._init, *self._main)))

    def _runner(self, container: Container, entries: list[Object] | None) -> ContainerRunner:
        runner = ContainerRunner(self.spec, container, self._root, self._place.around, lambda: self._changed.set())
        for entry in entries or []:
            if entry["name"] == container.name:
                runner.resume(entry)
        return runner

    async def _run_containers(self) -> None:
        for runner in self._main:
            runner.wait_with(INITIALIZING if self._init else CREATING)
        self._changed.set()
        await self._make_volumes()
        policy = self.spec.restart_policy
        for runner in self._init:  # one after the other, each until it succeeds
            if not self._terminating.is_set():
                await runner.run("OnFailure" if policy == "Always" else policy)
                state = runner.status.state
                if not isinstance(state, Terminated) or state.exit_code != 0:
                    return
        if not self._terminating.is_set():
            refreshing = asyncio.create_task(self._refresh_volumes())
            try:
                async with asyncio.TaskGroup() as group:
                    for runner in self._main:
                        group.create_task(runner.run(policy))
            finally:
                refreshing.cancel()

    async def _make_volumes(self) -> None:
        """Fill the volumes, as often as it takes until what they refer to exists."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not self._terminating.is_set():
            try:
                return await materialise(self._root, self.spec, self._place.around.sources)
            except (ConfigurationMissing, *_TROUBLE) as error:
                for runner in self._main:
                    runner.wait_with(Waiting("ContainerCreating", str(error)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._terminating.wait()
        return None

    async def _refresh_volumes(self) -> None:
        """Let mounted Secrets and ConfigMaps follow their sources, as a kubelet does about once a minute."""
        while follows_sources(self.spec):
            await asyncio.sleep(self._place.refresh_s)
            with contextlib.suppress(ConfigurationMissing, *_TROUBLE):  # what was mounted stays
                await materialise(self._root, self.spec, self._place.around.sources)

    def _status(self) -> Object:
        status: Object = self._observed.get("status") or {}
        return status

    def _desired_status(self) -> Object:
        init = [runner.status for runner in self._init]
        main = [runner.status for runner in self._main]
        # Once terminated, no restart policy applies any more: the phase tells how the containers ended.
        spec = replace(self.spec, restart_policy="Never") if self._over else self.spec
        return pod_status(spec, init, main, self._started_at, self._status(), datetime.now(UTC))

    async def _publish(self) -> None:
        """Write the status after every change; changes during a write are written together after it."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self._write_status():
                await asyncio.sleep(0.5)
                self._changed.set()

    async def _write_status(self) -> bool:
        """Returns False if it is worth trying again."""
        desired = self._desired_status()
        if all(self._status().get(field) == value for field, value in desired.items()):
            return True
        spec = self.spec
        try:
            patch = {"metadata": {"uid": spec.uid}, "status": desired}
            self._observed = await self._place.client.merge(PODS, patch, spec.name, spec.namespace, "status")
        except ApiError as error:
            if error.code in (404, 409, 422):  # gone, or another pod of this name by now
                return True
            log.warning("pod status not written pod=%s error=%s", spec, error)
            return False
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("pod status not written, trying again pod=%s error=%r", spec, error)
            return False
        return True

    async def _finish(self) -> None:
        """Publish how it ended, then delete exactly this object; the grace period is over, so it goes at once."""
        self._over = True
        remove_volumes(self._root)  # not earlier: a node that comes back finds an emptyDir as it was
        while True:
            if await self._write_status() and await self._delete():
                return
            await asyncio.sleep(0.5)

    async def _delete(self) -> bool:
        """Returns False if it is worth trying again."""
        try:
            await self._place.client.delete(PODS, self.spec.name, self.spec.namespace, self.spec.uid, 0)
        except ApiError as error:
            if error.code in (404, 409):
                return True
            log.warning("terminated pod not deleted, trying again pod=%s error=%s", self.spec, error)
            return False
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("terminated pod not deleted, trying again pod=%s error=%r", self.spec, error)
            return False
        return True

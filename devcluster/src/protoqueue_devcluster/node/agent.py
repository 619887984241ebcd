"""The node: registers itself and runs the pods bound to it."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protoqueue_devcluster.controllers.scheduling import binding
from protoqueue_devcluster.kube.client import PODS, ApiError, KubeClient, Object
from protoqueue_devcluster.kube.events import EventRecorder
from protoqueue_devcluster.kube.informer import Informer, Key, key_of
from protoqueue_devcluster.kube.workqueue import WorkQueue
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.node.containers import Surroundings
from protoqueue_devcluster.node.kubelet import running_kubelet
from protoqueue_devcluster.node.pods import PodPlace, PodRunner
from protoqueue_devcluster.node.registration import PROCESS_NODE_LABEL, NodeIdentity, keep_registered, withdraw
from protoqueue_devcluster.node.sources import ApiSources

log = logging.getLogger(__name__)

KEPT_POD_DIRECTORIES = 100
"""Logs of this many pods are kept, the newest; the volumes of a pod go with it."""


@dataclass(frozen=True)
class NodeOptions:
    """How to run a node. As a `guest` of a real cluster it binds the pods that ask for it and runs no others."""

    kubeconfig: Path
    name: str
    directory: Path
    working_dir: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    guest: bool = False
    restart_backoff_s: float = 10.0
    stop_grace_s: float = 10.0


class Agent:
    """Keeps one runner per pod bound to this node."""

    def __init__(self, client: KubeClient, options: NodeOptions, lifeline: Lifeline) -> None:
        self._client, self._options = client, options
        self._events = EventRecorder(client, "process-node", options.name)
        around = Surroundings(
            ApiSources(client), lifeline, options.working_dir, options.restart_backoff_s, self._events
        )
        self._place = PodPlace(client, around, options.directory / "pods")
        self._runners: dict[str, PodRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pods = Informer(client, PODS, fieldSelector=f"spec.nodeName={options.name}")
        self._pods.listen(self._pod_changed)

    async def run(self) -> None:
        """Run until cancelled; then stop all pods and leave their objects for the next life of this node."""
        options = self._options
        async with running_kubelet(options.address, self._find) as port:
            identity = NodeIdentity(options.name, options.address, port, options.labels, options.guest)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(keep_registered(self._client, identity))
                    group.create_task(self._pods.run())
                    group.create_task(self._events.run())
                    if options.guest:
                        await self._bind_selected(group)
            finally:
                await self._stop_all()
                await withdraw(self._client, identity)

    def _find(self, namespace: str, name: str) -> PodRunner | None:
        candidates = [r for r in self._runners.values() if (r.spec.namespace, r.spec.name) == (namespace, name)]
        return candidates[-1] if candidates else None

    def _pod_changed(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        gone = self._pods.get(key_of(pod)) is None
        runner = self._runners.get(uid)
        if runner is not None:
            if gone:  # deleted by force: the grace it was given is all its containers get
                grace_s = pod["metadata"].get("deletionGracePeriodSeconds", runner.spec.grace_s)
                runner.terminate(float(grace_s))
            else:
                runner.observe(pod)
        elif not gone and (not self._options.guest or selects_process_node(pod)):
            self._start(pod)

    def _start(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        runner = self._runners[uid] = PodRunner(pod, self._place)
        runner.observe(pod)
        task = self._tasks[uid] = asyncio.create_task(runner.run())
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        del self._runners[uid], self._tasks[uid]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod runner broke, the pod is left as it is uid=%s", uid, exc_info=error)
        self._forget_old_logs()

    def _forget_old_logs(self) -> None:
        directories = [path for path in self._place.directory.iterdir() if not path.name.endswith(tuple(self._runners))]
        for path in sorted(directories, key=lambda path: path.stat().st_mtime)[:-KEPT_POD_DIRECTORIES]:
            shutil.rmtree(path, ignore_errors=True)

    async def _stop_all(self) -> None:
        """Give every pod its grace, at most the node's own; what is left then falls to the lifeline."""
        runners, tasks = list(self._runners.values()), list(self._tasks.values())
        await asyncio.gather(*(runner.stop(self._options.stop_grace_s) for runner in runners), return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bind_selected(self, group: asyncio.TaskGroup) -> None:
        """Assign to this node the unassigned pods that select it."""
        unassigned = Informer(self._client, PODS, fieldSelector="spec.nodeName=")

        async def bind(key: Key) -> None:
            pod = unassigned.get(key)
            if pod is None or not selects_process_node(pod) or "deletionTimestamp" in pod["metadata"]:
                return
            request = binding(pod, self._options.name)
            try:
                await self._client.create(PODS, request.body, key[0], key[1], request.subresource)
            except ApiError as error:
                if error.code not in (404, 409):  # deleted, or bound by somebody else
                    raise

        queue: WorkQueue[Key] = WorkQueue("bindings", bind)
        unassigned.listen(lambda pod: queue.add(key_of(pod)))
        group.create_task(unassigned.run())
        group.create_task(queue.run())


def selects_process_node(pod: Object) -> bool:
    return PROCESS_NODE_LABEL in (pod["spec"].get("nodeSelector") or {})


async def run_node(options: NodeOptions) -> None:
    """Run a node until cancelled. Raises DirectoryInUse if another one runs in its directory."""
    with contextlib.ExitStack() as stack:
        lifeline = stack.enter_context(Lifeline(options.directory))
        (options.directory / "pods").mkdir(mode=0o700, parents=True, exist_ok=True)
        async with KubeClient(options.kubeconfig, "kubelet/protoqueue-process-node") as client:
            await Agent(client, options, lifeline).run()

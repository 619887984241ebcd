"""The controllers' I/O: informers feed work queues, each key is planned and its plan written."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Merge, Plan
from protoqueue_devcluster.controllers.deployments import plan_deployment
from protoqueue_devcluster.controllers.occurrences import occurrences
from protoqueue_devcluster.controllers.ownership import controlled_by, controller_of
from protoqueue_devcluster.controllers.replicasets import plan_replica_set
from protoqueue_devcluster.controllers.scheduling import plan_binding
from protoqueue_devcluster.controllers.statefulsets import plan_stateful_set
from protoqueue_devcluster.kube.client import (
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    ApiError,
    Kind,
    KubeClient,
    Object,
)
from protoqueue_devcluster.kube.events import EventRecorder
from protoqueue_devcluster.kube.informer import Informer, Key, key_of
from protoqueue_devcluster.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

KINDS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, PODS, NODES)


class Controllers:
    """All controllers over one set of informers."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._events = EventRecorder(client, "protoqueue-devcluster-controllers")
        self.informers = {kind: Informer(client, kind) for kind in KINDS}
        self._queues: dict[Kind, WorkQueue[Key]] = {
            DEPLOYMENTS: self._queue(DEPLOYMENTS, self._plan_deployment),
            REPLICA_SETS: self._queue(REPLICA_SETS, self._plan_replica_set),
            STATEFUL_SETS: self._queue(STATEFUL_SETS, self._plan_stateful_set),
            PODS: self._queue(PODS, self._plan_pod),
        }
        for kind, queue in self._queues.items():
            self.informers[kind].listen(lambda obj, queue=queue: queue.add(key_of(obj)))  # type: ignore[misc]
        for kind in (REPLICA_SETS, PODS):
            self.informers[kind].listen(self._wake_owner)
        self.informers[NODES].listen(self._wake_unassigned)

    async def run(self) -> None:
        """Run until cancelled. Nothing is planned before every informer is in step: half a picture would mislead."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run())
            for informer in self.informers.values():
                group.create_task(informer.run())
            for informer in self.informers.values():
                await informer.synced.wait()
            log.info("controllers are in step deployments=%d", len(list(self.informers[DEPLOYMENTS])))
            for queue in self._queues.values():
                group.create_task(queue.run())

    def _queue(self, kind: Kind, plan: Callable[[Object], Plan]) -> WorkQueue[Key]:
        async def reconcile(key: Key) -> float | None:
            obj = self.informers[kind].get(key)
            if obj is None:
                return None
            made = plan(obj)
            await self._write(made.actions)
            for occurrence in occurrences(obj, kind, made.actions):
                self._events.record(occurrence)
            return made.look_again_s

        return WorkQueue(kind.plural, reconcile)

    def _plan_deployment(self, deployment: Object) -> Plan:
        replica_sets = controlled_by(deployment, self.informers[REPLICA_SETS])
        uids = {rs["metadata"]["uid"] for rs in replica_sets}
        pods = [pod for pod in self.informers[PODS] if (ref := controller_of(pod)) is not None and ref["uid"] in uids]
        return plan_deployment(deployment, replica_sets, pods, datetime.now(UTC))

    def _plan_replica_set(self, replica_set: Object) -> Plan:
        return plan_replica_set(replica_set, controlled_by(replica_set, self.informers[PODS]), datetime.now(UTC))

    def _plan_stateful_set(self, stateful_set: Object) -> Plan:
        return plan_stateful_set(stateful_set, controlled_by(stateful_set, self.informers[PODS]), datetime.now(UTC))

    def _plan_pod(self, pod: Object) -> Plan:
        return Plan(plan_binding(pod, list(self.informers[NODES]), list(self.informers[PODS])))

    def _wake_owner(self, obj: Object) -> None:
        """A change of a ReplicaSet or pod concerns its controller; a pod's also the Deployment above, which counts."""
        reference = controller_of(obj)
        if reference is None:
            return
        key = (obj["metadata"].get("namespace", ""), reference["name"])
        for kind, queue in self._queues.items():
            if kind.name == reference["kind"]:
                queue.add(key)
        if reference["kind"] == REPLICA_SETS.name and (above := self.informers[REPLICA_SETS].get(key)) is not None:
            self._wake_owner(above)

    def _wake_unassigned(self, _: Object) -> None:
        for pod in self.informers[PODS]:
            if not pod["spec"].get("nodeName"):
                self._queues[PODS].add(key_of(pod))

    async def _write(self, actions: Iterable[Action]) -> None:
        """Write in order, except that runs of pod creations and deletions go out together."""
        async with asyncio.TaskGroup() as group:
            for action in actions:
                if isinstance(action, Create | Delete) and action.kind is PODS:
                    group.create_task(self._write_one(action))
                else:
                    await self._write_one(action)

    async def _write_one(self, action: Action) -> None:
        informer = self.informers[action.kind]
        match action:
            case Create(kind, body, name, subresource):
                made = await self._client.create(kind, body, body["metadata"]["namespace"], name, subresource)
                if not subresource:
                    informer.record(made)
            case Merge(kind, target, patch, subresource):
                namespace, name = key_of(target)
                informer.record(await self._client.merge(kind, patch, name, namespace, subresource))
            case Delete(kind, target):
                await self._delete(kind, target)

    async def _delete(self, kind: Kind, target: Object) -> None:
        namespace, name = key_of(target)
        try:
            answer = await self._client.delete(kind, name, namespace, target["metadata"]["uid"])
        except ApiError as error:
            if error.code not in (404, 409):  # gone already, or another of its name has come
                raise
            self.informers[kind].forget(target)
            return
        if answer.get("kind") == kind.name and "deletionTimestamp" in answer["metadata"]:
            self.informers[kind].record(answer)  # still there: a grace period or a finalizer
        else:
            self.informers[kind].forget(target)


async def run_controllers(kubeconfig: Path) -> None:
    """Run all controllers against the cluster of `kubeconfig` until cancelled."""
    async with KubeClient(kubeconfig, "kube-controller-manager/protoqueue-devcluster") as client:
        await Controllers(client).run()

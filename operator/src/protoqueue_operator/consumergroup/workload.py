"""The Deployment of a group with a template, from the first apply to its deletion."""

from collections.abc import Mapping
from contextlib import suppress

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, WorkerSource
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec
from protoqueue_operator.api.v1alpha1.labels import worker_selector
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.consumergroup.desired_deployment import (
    WorkerConnection,
    check_ownership,
    desired_deployment,
    is_as_desired,
    is_superfluous,
    taken_over,
)
from protoqueue_operator.jetstream.broker import Home
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import Gone, Invalid, Kubernetes
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.status_writer import StatusWriter


class Workload:
    """Creates, updates and deletes the Deployments of groups."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        deployments: Cache[Deployment],
        states: GroupStates,
        status: StatusWriter,
        events: EventRecorder,
        worker_nats_url: str | None,
    ) -> None:
        """`worker_nats_url` is the URL for workers of queues in the operator's own NATS; None: the operator's."""
        self._kubernetes = kubernetes
        self._deployments = deployments
        self._states = states
        self._status = status
        self._events = events
        self._worker_nats_url = worker_nats_url

    async def apply(self, group: Group, spec: ConsumerGroupSpec, home: Home) -> None:
        """Apply the Deployment of the template; without a template, delete an earlier one.

        Raises ForeignAsset, InvalidSpec where the API server does not take the template, and ApiError.
        """
        async with self._states.of(group).lock:
            if spec.worker and spec.worker.template is not None:
                connection = self._connection(spec.worker, home)
                await self._apply(group, spec, spec.worker.template.parsed(), connection)
            else:
                await self._end(group, spec)

    def _connection(self, worker: WorkerSource, home: Home) -> WorkerConnection:
        own_url = self._worker_nats_url if home.secret is None else None
        url = own_url or home.broker.connection.credentials.shown_url
        if worker.nats_secret_ref:
            return WorkerConnection(url, worker.nats_secret_ref.name)
        if home.secret is None:
            return WorkerConnection(url)
        return WorkerConnection("", home.secret, home.broker.connection.credentials, home.digest)

    async def _apply(
        self, group: Group, spec: ConsumerGroupSpec, template: dict[str, object], connection: WorkerConnection
    ) -> None:
        key = _key(group)
        desired = desired_deployment(group, template, connection, None)
        known = self._deployments.get(key)
        if known and is_as_desired(known, group, desired):
            return
        live = await self._read(key)
        check_ownership(group, live)
        if live and is_as_desired(live, group, desired):
            return
        replicas = _first_size(group, spec) if live is None else live.replicas if live.applies_replicas else None
        try:
            body = await self._kubernetes.apply(key, desired_deployment(group, template, connection, replicas))
        except Invalid as error:
            raise InvalidSpec(f"the API server rejects it: {error}", field="spec.worker.template") from error
        deployment = self._deployments.observe(body)
        if live is None:
            self._states.of(group).written = None
        self._announce_drift(group, live, deployment, desired)
        fields = {"selector": worker_selector(group.meta.name), "replicas": deployment.observed_replicas}
        self._status.report(group, fields)

    def _announce_drift(
        self, group: Group, live: Deployment | None, repaired: Deployment, desired: Mapping[str, object]
    ) -> None:
        """Fields that are still missing right after an apply were not changed by others: they leave no trace."""
        if live is None:
            before = self._states.of(group).last_applied
            if before and before.spec.worker and before.spec.worker.template is not None:
                self._events.drift(group.meta, "deleted", f"the Deployment {group.meta.name}")
            return
        traceless = taken_over(repaired, desired)
        if changed := [field for field in taken_over(live, desired) if field not in traceless]:
            self._events.drift(group.meta, "changed", f"the Deployment {group.meta.name}: {', '.join(changed)}")

    async def _end(self, group: Group, spec: ConsumerGroupSpec) -> None:
        """A Deployment that the watch has not shown yet is deleted when it does: each one seen requeues the group."""
        known = self._deployments.get(_key(group))
        if known is None or not is_superfluous(known, group, spec):
            return
        with suppress(Gone):
            await self._kubernetes.delete(known.key, known.uid)
        self._deployments.remove(known.key, known.uid)
        message = "spec.worker has no template: the Deployment was deleted"
        self._events.event(group.meta, "Normal", "WorkersEnded", message)

    async def _read(self, key: Key) -> Deployment | None:
        """Its current state, not the watch's: an apply must not undo a recent scaling."""
        try:
            return self._deployments.observe(await self._kubernetes.get(key))
        except Gone:
            return None


def _key(group: Group) -> Key:
    return Key("Deployment", group.meta.namespace, group.meta.name)


def _first_size(group: Group, spec: ConsumerGroupSpec) -> int:
    """The replicas of a new Deployment: unless stated, those it had before it was deleted, or one."""
    if spec.autoscale:
        return spec.autoscale.min_replicas
    if spec.replicas is not None:
        return spec.replicas
    return 1 if group.status.desired_replicas is None else group.status.desired_replicas

"""Which part gets which collaborators: the one place where all rooms meet."""

from collections.abc import Callable
from datetime import datetime

from protoqueue_operator.api.v1alpha1.kinds import CONSUMER_GROUP, QUEUE, REDRIVE
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.autoscaling.activation import Activation
from protoqueue_operator.autoscaling.deletion_cost import DeletionCosts
from protoqueue_operator.autoscaling.evaluation import Evaluation
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.sampler import Sampler
from protoqueue_operator.autoscaling.scale_target import ScaleTargets
from protoqueue_operator.autoscaling.scale_target_poller import ScaleTargetPoller
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.autoscaling.target_claims import TargetClaims
from protoqueue_operator.autoscaling.throttles import Throttles
from protoqueue_operator.autoscaling.worker_health import WorkerHealth
from protoqueue_operator.caches import Caches, DesiredAssets
from protoqueue_operator.consumergroup.deletion import GroupDeletion
from protoqueue_operator.consumergroup.reconciler import GroupReconciler
from protoqueue_operator.consumergroup.workload import Workload
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.jetstream.drift import DriftWatch
from protoqueue_operator.nats.secret_poller import SecretPoller
from protoqueue_operator.queue.dead_letter_target import DeadLetterTargets
from protoqueue_operator.queue.deletion import QueueDeletion
from protoqueue_operator.queue.reconciler import QueueReconciler
from protoqueue_operator.queue.relocation import Relocation
from protoqueue_operator.queue.state import QueueStates
from protoqueue_operator.redrive.mover import Mover
from protoqueue_operator.redrive.reconciler import RedriveReconciler
from protoqueue_operator.redrive.state import Turns
from protoqueue_operator.runtime.client import Kubernetes
from protoqueue_operator.runtime.controller import Controller
from protoqueue_operator.runtime.deletion import Deletion
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.gc_freeze import GcFreeze
from protoqueue_operator.runtime.metrics import Metrics
from protoqueue_operator.runtime.namespaces import Namespaces
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.timeseries.recorder import Recorder
from protoqueue_operator.timeseries.store import SeriesStore

RESYNC_PATIENCE_S = 30.0
"""Resources that are reconciled only to be sure, as after a start, let urgent ones go first for this long."""

_TENANTS_WORKERS = 4
"""How many workers all queues of a namespace share that live in its own NATS, which may be slow."""

_NOT_WORTH_AN_EVENT = ("QueueNotReady", "LevelsGrowing")
"""Reasons that pass within moments, as when a Queue and its group are created together."""


class Wiring:
    """Builds every part from what it needs, and nothing more."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        caches: Caches,
        brokers: Brokers,
        status: StatusWriter,
        events: EventRecorder,
        metrics: Metrics,
        *,
        worker_nats_url: str | None,
        max_bytes_per_namespace: int | None,
        target_period_s: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._kubernetes, self._caches, self._brokers = kubernetes, caches, brokers
        self._status, self._events, self._metrics = status, events, metrics
        self._now, self._monotonic = now, monotonic
        self._gc_freeze = GcFreeze()
        self.stored: dict[Key, int] = {}
        """Of each queue, how many tasks have ever been stored in its stream, as last sampled."""
        self.group_states, self.queue_states, self.samples = GroupStates(), QueueStates(), SeriesStore()
        self._namespaces = Namespaces(kubernetes)
        self._finalizers = Finalizers(kubernetes, caches.resources())
        self._deletion = Deletion(kubernetes, self._finalizers, status, events, now)
        self._turns = Turns()
        self.claims = TargetClaims(caches.groups, caches.deployments)
        self.targets = ScaleTargets(kubernetes, caches.deployments, self.claims)
        self.executor = self._build_executor()
        self.relocation = self._build_relocation()
        self.queue_deletion = QueueDeletion(caches.groups_of, self.relocation, self._namespaces, self._deletion)
        self.group_deletion = self._build_group_deletion()
        self.queues = self._build_queue_reconciler(max_bytes_per_namespace)
        self.groups = self._build_group_reconciler(worker_nats_url)
        self.mover = self._build_mover()
        self.controller = self._build_controller()
        self.health = WorkerHealth(kubernetes, caches.deployments, monotonic, self.groups.report_readiness)
        self.secret_poller = SecretPoller(kubernetes, caches.queues, brokers, self.requeue)
        self.target_poller = self._build_target_poller(target_period_s)

    def requeue(self, queue: Key) -> None:
        """Something about a queue or its groups has changed outside Kubernetes."""
        if queue in self._caches.queues:
            self.controller.work.add(queue)
            self.requeue_groups(queue)

    def requeue_groups(self, queue: Key, within_s: float = 0.0) -> None:
        for group in self._caches.groups_of.get(queue):
            self.controller.work.add(group.meta.key, within_s)

    def requeue_senders(self, queue: Key, within_s: float = 0.0) -> None:
        """The queues whose dead letters go to this one, directly or through others: their target has changed."""
        seen, left = {queue}, [queue]
        while left:
            for sender in self._caches.senders_to.get(left.pop()):
                if sender.meta.key not in seen:
                    seen.add(sender.meta.key)
                    left.append(sender.meta.key)
                    self.controller.work.add(sender.meta.key, within_s)

    def requeue_redrives(self, queue: Key) -> None:
        """The Redrives that wait for the queue, or must stop."""
        for redrive in self._caches.redrives_of.get(queue):
            self.controller.work.add(redrive.meta.key)

    def requeue_all_of(self, broker: Broker) -> None:
        """Everything in this broker is in question, as after it went away or came back."""
        for key in self._brokers.queues_referring_to(broker):
            self.controller.work.add(key, RESYNC_PATIENCE_S)
            self.requeue_groups(key, RESYNC_PATIENCE_S)

    def sampler(self, broker: Broker) -> Sampler:
        """For the queues that live there."""
        caches = self._caches
        desired = DesiredAssets(self.queue_states, self.group_states, caches.groups_of)
        drift = DriftWatch(broker, self._brokers, caches.queues, desired, self.requeue)
        recorder, throttles = self.recorder(broker), Throttles(broker, self._now, self._monotonic)
        return Sampler(
            broker, self._brokers, caches.queues, caches.groups_of, self.group_states, self.executor, drift,
            desired.layout, self._is_redriven,
            lambda activation: self.evaluation(activation, recorder, throttles), recorder, self._swept,
        )  # fmt: skip

    def recorder(self, broker: Broker) -> Recorder:
        """Of what is measured of the queues that live there."""
        return Recorder(
            broker, lambda: self._brokers.queues_of(broker), lambda key: self._queue_in(broker, key), self.samples,
            self._workers_of,
        )  # fmt: skip

    def evaluation(self, activation: Activation, recorder: Recorder, throttles: Throttles) -> Evaluation:
        return Evaluation(
            self._caches.groups_of, self.group_states, self.executor, self.health, activation, throttles, self._status,
            recorder, self.stored, self._monotonic,
        )  # fmt: skip

    def _build_executor(self) -> Executor:
        return Executor(
            self._kubernetes, self._caches.deployments, self.group_states, self.claims, self.targets,
            DeletionCosts(self._kubernetes, self._brokers), self._status, self._events, self.samples.resized,
            self._now, self._monotonic,
        )  # fmt: skip

    def _build_relocation(self) -> Relocation:
        return Relocation(
            self._brokers, self._caches.queues, self._caches.groups_of, self.queue_states, self._namespaces,
            self._events,
        )  # fmt: skip

    def _build_group_deletion(self) -> GroupDeletion:
        return GroupDeletion(self._caches.queues, self.group_states, self.relocation, self._namespaces, self._deletion)

    def _build_queue_reconciler(self, max_bytes_per_namespace: int | None) -> QueueReconciler:
        return QueueReconciler(
            queues=self._caches.queues,
            groups_of=self._caches.groups_of,
            states=self.queue_states,
            brokers=self._brokers,
            relocation=self.relocation,
            namespaces=self._namespaces,
            finalizers=self._finalizers,
            deletion=self.queue_deletion,
            dead_letters=DeadLetterTargets(self._kubernetes, self._caches.queues),
            status=self._status,
            events=self._events,
            max_bytes_per_namespace=max_bytes_per_namespace,
            requeue_groups=self.requeue_groups,
            requeue_senders=self.requeue_senders,
            count_error=lambda key, error: self.controller.count_error(key, error),
            now=self._now,
        )

    def _build_group_reconciler(self, worker_nats_url: str | None) -> GroupReconciler:
        return GroupReconciler(
            kubernetes=self._kubernetes,
            queues=self._caches.queues,
            groups_of=self._caches.groups_of,
            deployments=self._caches.deployments,
            states=self.group_states,
            brokers=self._brokers,
            homes=self.relocation,
            finalizers=self._finalizers,
            workload=self._build_workload(worker_nats_url),
            targets=self.targets,
            claims=self.claims,
            executor=self.executor,
            deletion=self.group_deletion,
            status=self._status,
            events=self._events,
            refused_queues=self.queue_states.refused,
            layout=self.queue_states.layouts.get,
            requeue=lambda key: self.controller.work.add(key),
            count_error=lambda key, error: self.controller.count_error(key, error),
        )

    def _build_workload(self, worker_nats_url: str | None) -> Workload:
        return Workload(
            self._kubernetes, self._caches.deployments, self.group_states, self._status, self._events, worker_nats_url
        )

    def _build_mover(self) -> Mover:
        return Mover(
            kubernetes=self._kubernetes,
            redrives=self._caches.redrives,
            queues=self._caches.queues,
            known_broker=lambda queue: self._brokers.known(queue),
            layout=self.queue_states.layouts.get,
            is_taken_over=self.relocation.is_taken_over,
            turns=self._turns,
            status=self._status,
            events=self._events,
            observer=self._metrics.work_queue("redrive"),
            now=self._now,
            monotonic=self._monotonic,
        )

    def _build_redrive_reconciler(self) -> RedriveReconciler:
        return RedriveReconciler(
            kubernetes=self._kubernetes,
            redrives=self._caches.redrives,
            mover=self.mover,
            turns=self._turns,
            finalizers=self._finalizers,
            deletion=self._deletion,
            status=self._status,
            now=self._now,
        )

    def _build_controller(self) -> Controller:
        return Controller(
            self._caches.resources(),
            {QUEUE.name: self.queues, CONSUMER_GROUP.name: self.groups, REDRIVE.name: self._build_redrive_reconciler()},
            self._metrics,
            share_of=self._tenant_of,
            share=_TENANTS_WORKERS,
        )

    def _build_target_poller(self, target_period_s: float) -> ScaleTargetPoller:
        return ScaleTargetPoller(
            self._caches.groups, self.group_states, self.claims, self.targets, self.executor,
            lambda key: self.controller.work.add(key), target_period_s,
        )  # fmt: skip

    def _queue_in(self, broker: Broker, key: Key) -> Queue | None:
        """None if it is gone or lives elsewhere."""
        return self._caches.queues.get(key) if self._brokers.known(key) is broker else None

    def _workers_of(self, queue: Key) -> tuple[int | None, int | None]:
        """How many workers are wanted and available, over all groups; None if unknown for all of them."""
        groups = self._caches.groups_of.get(queue)
        sizes = [size for each in groups if (size := self.executor.known_size(each, self.group_states.of(each)))]
        if not sizes:
            return None, None
        return sum(size.wanted for size in sizes), sum(size.ready for size in sizes)

    def _is_redriven(self, queue: Key) -> bool:
        """Whether Redrives may have stored their progress in its streams."""
        return any(FINALIZER in redrive.meta.finalizers for redrive in self._caches.redrives_of.get(queue))

    def _swept(self) -> None:
        self.group_states.keep_only(self._caches.groups.keys())
        self.samples.keep_only(self._caches.queues.keys())
        for key in self.stored.keys() - self._caches.queues.keys():
            del self.stored[key]
        self._gc_freeze.observe(len(self._caches))

    def _tenant_of(self, key: Key) -> str | None:
        """The namespace of a queue, or of a group of one, that lives where a Secret of the namespace says."""
        group = self._caches.groups.get(key)
        queue = self._caches.queues.get(group.queue_key if group else key)
        spec = queue.spec if queue else None
        return key.namespace if isinstance(spec, QueueSpec) and spec.nats and spec.nats.connection_secret_ref else None


def make_status_writer(
    kubernetes: Kubernetes, caches: Caches, now: Callable[[], datetime], metrics: Metrics
) -> tuple[StatusWriter, EventRecorder]:
    """And the recorder of the Events that go with it."""
    resources = caches.resources()
    events = EventRecorder(kubernetes, resources, now, metrics.work_queue("events"))
    status = StatusWriter(
        kubernetes, resources, events, now,
        observer=metrics.work_queue("status"), not_worth_an_event=_NOT_WORTH_AN_EVENT,
    )  # fmt: skip
    return status, events

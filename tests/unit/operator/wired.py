"""The operator's parts, wired as in the operator, around what a test puts in the place of Kubernetes and NATS."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.state import GroupState, LastApplied
from protoqueue_operator.caches import Caches
from protoqueue_operator.jetstream.assets import Consumer
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.runtime.metrics import Metrics
from protoqueue_operator.runtime.workqueue import Requeue
from protoqueue_operator.wiring import Wiring


def make_pool(kubernetes: Any = None, listener: Any = None, own: Credentials | None = None) -> Brokers:
    return Brokers(cast("Any", own), kubernetes, listener, Broker.over)


class Wired:
    """`said` is told of statuses and Events alike."""

    def __init__(
        self,
        kubernetes: Any = None,
        brokers: Any = None,
        said: Any = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        target_period_s: float = 10.0,
    ) -> None:
        self.kubernetes, self.brokers, self.said = kubernetes, brokers, said
        self.now, self.monotonic = now, monotonic
        self.caches = Caches()
        self.wiring = Wiring(
            kubernetes,
            self.caches,
            brokers,
            said,
            said,
            Metrics(),
            worker_nats_url=None,
            max_bytes_per_namespace=None,
            target_period_s=target_period_s,
            now=lambda: self.now(),
            monotonic=lambda: self.monotonic(),
        )

    @property
    def executor(self) -> Executor:
        return self.wiring.executor

    def queue(self, body: Mapping[str, Any]) -> Queue:
        return self.caches.queues.observe(body)

    def group(self, body: Mapping[str, Any]) -> Group:
        return self.caches.groups.observe(body)

    def state_of(self, group: Group) -> GroupState:
        return self.wiring.group_states.of(group)

    def applied(self, group: Group, consumers: tuple[Consumer, ...] = ()) -> GroupState:
        """As if the group had been reconciled."""
        assert isinstance(group.spec, ConsumerGroupSpec), group.spec
        state = self.state_of(group)
        state.last_applied = LastApplied(group.spec, consumers, paused=False)
        return state

    async def reconcile(self, key: Key) -> Requeue | None:
        return await self.wiring.controller.reconcile(key)

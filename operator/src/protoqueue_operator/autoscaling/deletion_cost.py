"""Letting idle workers go first when a group is scaled down.

The workers report their load: they are asked all at once, over NATS, and the ReplicaSet controller reads the answers
from the pods' annotations. This is best effort: no failure or delay holds up the scaling.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain

from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.deletion_order import (
    DELETION_COST,
    WorkerPod,
    costs_to_write,
    parse_pod,
    running_by_host,
)
from protoqueue_operator.jetstream.broker import Brokers
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone, Kubernetes

logger = logging.getLogger(__name__)

_ANSWER_S = 0.3
_LIMIT_S = 2.0
"""Timeout for all of it: delaying a scale-down by this much does no harm."""


class DeletionCosts:
    """Marks the pods of a group by how much each has to do."""

    def __init__(self, kubernetes: Kubernetes, brokers: Brokers) -> None:
        self._kubernetes = kubernetes
        self._brokers = brokers

    async def write(self, group: Group, selector: str, workers: int, partners: Sequence[Group] = ()) -> None:
        """Mark the pods that `selector` finds, which may work for `partners` too. Raises nothing."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                found = await asyncio.gather(*(self._answers(each, workers) for each in (group, *partners)))
                if running := running_by_host(chain.from_iterable(found)):
                    await self._mark(group, selector, running)
        except (TimeoutError, BrokerUnavailable, ApiError) as error:
            logger.warning(
                "pod deletion costs not written: object=%s error=%r; workers that are ended hand back their tasks",
                group.meta.key,
                error,
            )

    async def _answers(self, group: Group, workers: int) -> list[tuple[str, int]]:
        """The host of each worker that answers, and how many tasks it runs."""
        answers: list[tuple[str, int]] = []
        if broker := self._brokers.known(group.queue_key):
            for answer in await broker.connection.request_many(group.name.status_requests, workers, _ANSWER_S):
                try:
                    status = WorkerStatus.decode(answer)
                except (ValueError, RecursionError) as error:
                    logger.warning("worker status not read: object=%s error=%s", group.meta.key, error)
                    continue
                answers.append((status.host, status.running))
        return answers

    async def _mark(self, group: Group, selector: str, running: Mapping[str, int]) -> None:
        namespace = group.meta.namespace
        pods = [
            parse_pod(body)
            async for page in self._kubernetes.pages("Pod", namespace, selector)
            for body in page["items"]
        ]

        async def mark(pod: WorkerPod, cost: str) -> None:
            with suppress(Gone, Conflict):  # it is gone meanwhile; mark the others anyway
                await self._kubernetes.annotate(Key("Pod", namespace, pod.name), pod.uid, {DELETION_COST: cost})

        await asyncio.gather(*(mark(pod, cost) for pod, cost in costs_to_write(pods, running).items()))

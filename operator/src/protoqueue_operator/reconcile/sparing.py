"""Before some of a group's workers go: idle ones first.

The workers themselves know what they have to do. They are asked all at once, over NATS, and the ReplicaSet controller
reads the answers from the pods' annotations. It is an attempt: nothing that fails, or takes long, holds up the scaling.
"""

import asyncio
import logging
from collections import Counter
from contextlib import suppress

from protoqueue.presence import Presence
from protoqueue_operator.adapters.kubernetes import ApiError, Conflict, Gone
from protoqueue_operator.core.refusals import BrokerUnavailable
from protoqueue_operator.core.resources import Group, Key
from protoqueue_operator.core.sparing import DELETION_COST, WorkerPod, costs_to_write, parse_pod
from protoqueue_operator.reconcile.runtime import Runtime

logger = logging.getLogger(__name__)

_ANSWER_S = 0.3
_PATIENCE_S = 2.0
"""For everything: a size that comes so much later does no harm."""


async def spare_the_busy(group: Group, selector: str, workers: int, runtime: Runtime) -> None:
    """Mark the pods that `selector` finds by how much each has to do. Raises nothing."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            running = await _roll_call(group, workers, runtime)
            if running:
                await _mark(group, selector, running, runtime)
    except (TimeoutError, BrokerUnavailable, ApiError) as error:
        logger.warning("busy workers not spared: object=%s error=%r; they hand back their tasks", group.meta.key, error)


async def _roll_call(group: Group, workers: int, runtime: Runtime) -> Counter[str]:
    """Tasks by pod."""
    running: Counter[str] = Counter()
    if broker := runtime.brokers.known(group.queue_key):
        for answer in await broker.connection.ask_everybody(group.name.roll_call, workers, _ANSWER_S):
            try:
                presence = Presence.decode(answer)
            except (ValueError, RecursionError) as error:
                logger.warning("roll call: object=%s error=%s", group.meta.key, error)
                continue
            running[presence.host] += presence.running
    return running


async def _mark(group: Group, selector: str, running: Counter[str], runtime: Runtime) -> None:
    namespace = group.meta.namespace
    pods = [
        parse_pod(body) async for page in runtime.kubernetes.pages("Pod", namespace, selector) for body in page["items"]
    ]

    async def mark(pod: WorkerPod, cost: str) -> None:
        with suppress(Gone, Conflict):  # it went meanwhile; the others are to be marked all the same
            await runtime.kubernetes.annotate(Key("Pod", namespace, pod.name), pod.uid, {DELETION_COST: cost})

    await asyncio.gather(*(mark(pod, cost) for pod, cost in costs_to_write(pods, running).items()))

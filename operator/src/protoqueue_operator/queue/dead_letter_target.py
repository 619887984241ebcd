"""Finds the Queue that a Queue's dead letters go to."""

from collections.abc import Mapping

from protoqueue.protocol.names import QueueName
from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.errors import Refusal
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.apply import read_config
from protoqueue_operator.jetstream.kv import ConfigBucket
from protoqueue_operator.queue.dead_letter_rules import check_target, not_made_yet, target_of
from protoqueue_operator.runtime.client import Gone, Kubernetes


class DeadLetterTargets:
    def __init__(self, kubernetes: Kubernetes, queues: Mapping[Key, Queue]) -> None:
        self._kubernetes = kubernetes
        self._queues = queues

    async def of(self, queue: Queue, spec: QueueSpec, configs: ConfigBucket) -> tuple[str, Refusal | None]:
        """The name of the Queue that gets the letters, empty where there is none, and why that is not as specified.

        `configs` is the bucket of the NATS that the queue lives in. Raises ApiError, BrokerUnavailable and
        BrokerRefused.
        """
        target = target_of(queue)
        if target is None:
            return "", None
        try:
            check_target(queue, spec, await self._find(target), self._queues)
        except Refusal as error:
            return "", error
        key = QueueName(target.namespace, target.name).config_key
        if await read_config(configs, key, pb.QueueConfig) is None:
            return "", not_made_yet(target)
        return target.name, None

    async def _find(self, key: Key) -> Queue | None:
        """Also where the watch, as after a start, has not brought it yet: no letter may stray because of that."""
        if (known := self._queues.get(key)) is not None:
            return known
        try:
            return parse_queue(await self._kubernetes.get(key))
        except Gone:
            return None

"""Detects changes of Secrets that Queues name, without a watch: watching Secrets means reading all of a namespace.

Instead each named Secret's version is read by name; its Queues are reconciled if it is not the one they were created
from.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.nats.pool import Pool
from protoqueue_operator.runtime.client import ApiError, Gone, Kubernetes
from protoqueue_operator.runtime.poller import go_round

logger = logging.getLogger(__name__)

ROUND_S = 20.0
"""Within this time each Secret is polled once."""


class SecretPoller:
    """`look_again` is called with each Queue whose Secret has changed since it was applied."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        queues: Mapping[Key, Queue],
        pool: Pool[Any],
        look_again: Callable[[Key], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._queues = queues
        self._pool = pool
        self._look_again = look_again
        self._refused: set[Key] = set()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            named = self._named()
            self._refused &= named.keys()
            await go_round(named.items(), self._ask_for, ROUND_S)

    async def _ask_for(self, named: tuple[Key, list[Key]]) -> None:
        secret, queues = named
        try:
            version = await self._kubernetes.version(secret)
        except Gone:
            version = ""
        except ApiError as error:
            if secret not in self._refused:
                logger.warning("secret not read: object=%s error=%s; retrying", secret, error)
            self._refused.add(secret)
            return
        self._refused.discard(secret)
        for queue in queues:
            if self._pool.version_read(queue) not in (None, version):
                self._look_again(queue)

    def _named(self) -> dict[Key, list[Key]]:
        """The Queues by the Secret that each names."""
        named: defaultdict[Key, list[Key]] = defaultdict(list)
        for key, queue in self._queues.items():
            if isinstance(queue.spec, QueueSpec) and queue.spec.nats:
                named[Key("Secret", key.namespace, queue.spec.nats.connection_secret_ref.name)].append(key)
        return named

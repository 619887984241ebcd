"""One NATS account with JetStream, as used by the reconcilers, and in which of them a queue lives."""

from dataclasses import dataclass
from typing import Protocol

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.kv import ConfigBucket
from protoqueue_operator.nats import pool
from protoqueue_operator.nats.connection import Connection


@dataclass(frozen=True, eq=False)
class Broker:
    connection: Connection
    jetstream: JetStream
    configs: ConfigBucket

    @classmethod
    def over(cls, connection: Connection) -> "Broker":
        """Everything that is used of one connection."""
        jetstream = JetStream(connection)
        return cls(connection, jetstream, ConfigBucket(jetstream))


Brokers = pool.Pool[Broker]
Home = pool.Home[Broker]


class Homes(Protocol):
    """Knows where queues live."""

    async def home_of(self, queue: Queue, spec: QueueSpec) -> Home:
        """Raises Refusal, BrokerUnavailable and ApiError."""

    async def broker_of(self, queue: Key) -> Broker:
        """The broker from which the queue's assets are to be removed. Raises BrokerUnavailable and ApiError."""

    def is_taken_over(self, queue: Key) -> bool:
        """Whether another Queue of the same name, such as another cluster's, owns the streams now."""

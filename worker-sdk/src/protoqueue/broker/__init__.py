"""The way to the broker."""

from protoqueue.connection.broker import (
    ACK,
    IN_PROGRESS,
    NAK,
    Broker,
    ConsumerState,
    Delivery,
    DuplicateInBatch,
    Inbox,
    Message,
    Published,
    PullEnd,
    Revision,
    StoredMessage,
    StreamState,
    Subscription,
    WrongRevision,
)
from protoqueue.connection.jetstream import JetStreamBroker
from protoqueue.connection.options import ConnectionOptions

__all__ = [
    "ACK",
    "IN_PROGRESS",
    "NAK",
    "Broker",
    "ConnectionOptions",
    "ConsumerState",
    "Delivery",
    "DuplicateInBatch",
    "Inbox",
    "JetStreamBroker",
    "Message",
    "Published",
    "PullEnd",
    "Revision",
    "StoredMessage",
    "StreamState",
    "Subscription",
    "WrongRevision",
]

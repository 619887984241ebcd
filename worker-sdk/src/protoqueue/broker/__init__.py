"""The way to the broker."""

import protoqueue.broker.nats_import  # noqa: F401  # before anything else imports nats
from protoqueue.broker.interface import (
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
    Turn,
    WrongRevision,
)
from protoqueue.broker.jetstream import JetStreamBroker
from protoqueue.broker.options import ConnectionOptions

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
    "Turn",
    "WrongRevision",
]

"""The keys with which workers and Redrives seal the message ids of a group."""

import base64
import secrets

from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.kv import seal_entry

_KEY_BYTES = 16
_TRIES = 5


async def seal_key(broker: Broker, group: GroupName) -> bytes:
    """The group's key, created by the first that needs it. Raises BrokerUnavailable and BrokerRefused."""
    stream, subject = seal_entry(group)
    refusal: BrokerRefused | None = None
    for _ in range(_TRIES):
        message = await broker.jetstream.last_message(stream, subject)
        if message and (value := base64.b64decode(message.get("data", ""))):
            return value
        own = secrets.token_hex(_KEY_BYTES).encode()
        revision = {Header.EXPECTED_SEQUENCE: str(message["seq"] if message else 0)}
        try:
            await broker.jetstream.publish(subject, own, revision)
        except BrokerRefused as error:  # a worker was first
            refusal = error
            continue
        return own
    raise refusal or AssertionError("tried")

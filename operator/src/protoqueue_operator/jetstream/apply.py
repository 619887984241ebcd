"""Carries out a plan against JetStream, in order."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.diff import (
    Action,
    CreateConsumer,
    CreateStream,
    DeleteConsumer,
    DeleteStream,
    PauseConsumer,
    UpdateConsumer,
    UpdateStream,
    described,
)
from protoqueue_operator.jetstream.kv import ConfigBucket
from protoqueue_operator.jetstream.runtime_config import Config, decode, encode

logger = logging.getLogger(__name__)

_READ_ONCE = ("deliver_policy", "max_waiting", "pause_until")
"""Fields that JetStream accepts when a consumer is created, and refuses or ignores afterwards."""


async def apply_plan(
    jetstream: JetStream, plan: Iterable[Action], there: Mapping[str, Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """`there` holds the server's configurations by name: fields that are not ours survive an update.

    Returns what the server says of the consumers it has made.
    Raises BrokerUnavailable and BrokerRefused; what was done until then stays done, and the next reconcile goes on.
    """
    made: list[Mapping[str, Any]] = []
    for action in plan:
        match action:
            case CreateStream(stream):
                await jetstream.create_stream(stream.config())
            case UpdateStream(stream):
                await jetstream.update_stream(_over(there[stream.name], stream.config()))
            case DeleteStream(name):
                await jetstream.delete_stream(name)
            case CreateConsumer(consumer):
                made.append(await jetstream.create_consumer(consumer.stream, consumer.config()))
            case UpdateConsumer(consumer):
                changes = {name: value for name, value in consumer.config().items() if name not in _READ_ONCE}
                await jetstream.update_consumer(consumer.stream, _over(there[consumer.name], changes))
            case PauseConsumer(consumer):
                await jetstream.pause_consumer(consumer.stream, consumer.name, paused=consumer.paused)
            case DeleteConsumer(stream_name, name):
                await jetstream.delete_consumer(stream_name, name)
        logger.info("jetstream changed: action=%s", described(action))
    return made


async def read_config(configs: ConfigBucket, key: str, kind: type[Config]) -> Config | None:
    """The stored entry; None if there is none, or it cannot be read."""
    stored = await configs.get(key)
    return None if stored is None else decode(kind, stored)


async def apply_config(configs: ConfigBucket, key: str, wanted: Config) -> bool:
    """Write the entry unless it is unchanged; returns whether it was written."""
    if await read_config(configs, key, type(wanted)) == wanted:
        return False
    await configs.put(key, encode(wanted))
    return True


def _over(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {**(there.get("metadata") or {}), **wanted["metadata"]}
    return {**there, **wanted, "metadata": metadata}

"""The consumer group of a queue that has just one, for callers that do not name it."""

from protoqueue.broker import Broker
from protoqueue.broker.config_watch import READ_TIMEOUT_S, read_settings
from protoqueue.errors import ConfigurationError, GroupNotFound, QueueNotFound
from protoqueue.protocol.buckets import CONFIG_BUCKET
from protoqueue.protocol.config import parse_queue
from protoqueue.protocol.names import GroupName, QueueName

_HOW = "pass group=... or set PROTOQUEUE_GROUP"


async def only_group(broker: Broker, queue: QueueName) -> GroupName:
    """Raises QueueNotFound, GroupNotFound if there is no group, and ConfigurationError if one has to be named."""
    settings = await read_settings(broker, queue.config_key, parse_queue)
    if settings is None:
        raise QueueNotFound(
            f"queue {queue} does not exist on this NATS server: apply a Queue and wait until it is Ready"
        )
    if settings.broadcast:
        raise ConfigurationError(f"queue {queue} delivers to every group (delivery: Broadcast): {_HOW}")
    names = []
    for key in sorted(await broker.keys(CONFIG_BUCKET, queue.config_key, READ_TIMEOUT_S)):
        name = key.removeprefix(f"{queue.config_key}.")
        if not name.startswith("_") and (await broker.read_key(CONFIG_BUCKET, key, READ_TIMEOUT_S)).value is not None:
            names.append(name)
    if not names:
        raise GroupNotFound(f"queue {queue} has no consumer group: apply a ConsumerGroup for it")
    if len(names) > 1:
        raise ConfigurationError(f"queue {queue} has the groups {', '.join(names)}: {_HOW}")
    return GroupName(queue, names[0])

"""What a queue's streams hold at one NATS."""

import asyncio
from collections.abc import Mapping

from protoqueue_operator.adapters.jetstream import JetStream, Json
from protoqueue_operator.core.assets import Owner, Stream, queue_stream_names
from protoqueue_operator.core.plan import refuse_foreign
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import ForeignAsset
from protoqueue_operator.core.resources import Queue


async def own_streams(queue: Queue, jetstream: JetStream) -> dict[str, Json]:
    """The queue's own streams that are there, by name, in the order they are made. Raises BrokerUnavailable."""
    infos = await asyncio.gather(*(jetstream.stream(name) for name in queue_stream_names(queue.name)))
    return {info["config"]["name"]: info for info in infos if info and _is_ours(queue, info["config"])}


def contents(queue: Queue, streams: Mapping[str, Json]) -> str:
    """What is stored, in words; nothing where all is empty.

    Recurring tasks live on LATER too, and do not count: they go with the queue.
    """
    schedules = len(queue.spec.schedules) if isinstance(queue.spec, QueueSpec) else 0
    name = queue.name
    messages = {stream: info["state"]["messages"] for stream, info in streams.items()}
    counts = {
        "tasks": messages.get(name.stream, 0),
        "tasks not yet due": max(0, messages.get(name.later_stream, 0) - schedules),
        "dead letters": messages.get(name.dead_letter_stream, 0),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _is_ours(queue: Queue, config: Json) -> bool:
    observed = Stream.observed(config)
    try:
        refuse_foreign(Owner.of(queue.meta), observed.owner, observed.name)
    except ForeignAsset:
        return False
    return True

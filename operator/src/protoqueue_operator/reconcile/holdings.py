"""What a queue's streams hold at one NATS."""

import asyncio
from collections.abc import Mapping

from protoqueue_operator.adapters.jetstream import JetStream, Json
from protoqueue_operator.core.assets import Owner, Stream
from protoqueue_operator.core.layout import queue_stream_names
from protoqueue_operator.core.plan import refuse_foreign
from protoqueue_operator.core.refusals import ForeignAsset
from protoqueue_operator.core.resources import Queue
from protoqueue_operator.core.wording import counted


async def own_streams(queue: Queue, jetstream: JetStream) -> dict[str, Json]:
    """The queue's own streams that are there, by name, in the order they are made; recurring tasks by subject.

    Raises BrokerUnavailable.
    """
    recurring = queue.name.all_recurring
    infos = await asyncio.gather(*(jetstream.stream(name, recurring) for name in queue_stream_names(queue.name)))
    return {info["config"]["name"]: info for info in infos if info and _is_ours(queue, info["config"])}


def contents(queue: Queue, streams: Mapping[str, Json]) -> str:
    """What is stored, in words; nothing where all is empty. `streams` as `own_streams` gives them.

    Recurring tasks live on LATER too, and do not count: they go with the queue. Those that are stored, that is: what
    the specification lists may be others.
    """
    name = queue.name
    messages = {
        stream: info["state"]["messages"] - sum((info["state"].get("subjects") or {}).values())
        for stream, info in streams.items()
    }
    held = (
        (name.stream, "task", ""),
        (name.later_stream, "task", "not yet due"),
        (name.dead_letter_stream, "dead letter", ""),
    )
    return ", ".join(counted(count, *what) for stream, *what in held if (count := messages.get(stream, 0)))


def _is_ours(queue: Queue, config: Json) -> bool:
    observed = Stream.observed(config)
    try:
        refuse_foreign(Owner.of(queue.meta), observed.owner, observed.name)
    except ForeignAsset:
        return False
    return True

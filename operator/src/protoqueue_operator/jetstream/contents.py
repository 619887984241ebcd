"""What a queue's streams hold at one NATS."""

import asyncio
from collections.abc import Mapping

from protoqueue.protocol.consumer_names import SCHEDULED_CONSUMER
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.jetstream.assets import Owner, Stream
from protoqueue_operator.jetstream.client import JetStream, Json
from protoqueue_operator.jetstream.desired import queue_stream_names
from protoqueue_operator.jetstream.ownership import is_owned


async def own_streams(queue: Queue, jetstream: JetStream) -> dict[str, Json]:
    """The queue's own streams that are there, by name, in the order they are made; recurring tasks by subject.

    `scheduled` is how many tasks of a stream are not yet due, and `checkpoints` how many messages are of Redrives.
    Raises BrokerUnavailable.
    """
    infos = await asyncio.gather(*(_stream(queue, name, jetstream) for name in queue_stream_names(queue.name)))
    mine, uid, adopts = Owner.of(queue.meta), queue.namespace_uid, queue.meta.adopts
    return {
        info["config"]["name"]: info
        for info in infos
        if info and is_owned(mine, uid, adopts, Stream.observed(info["config"]))
    }


async def is_anothers(stream: str, owner: Owner, namespace_uid: str, adopts: str, jetstream: JetStream) -> bool:
    """Whether a queue's stream is there and not `owner`'s: nor are the queue's entries, schedules and consumers then.

    Raises BrokerUnavailable.
    """
    info = await jetstream.stream(stream)
    return info is not None and not is_owned(owner, namespace_uid, adopts, Stream.observed(info["config"]))


def contents(queue: Queue, streams: Mapping[str, Json]) -> str:
    """What is stored, in words; nothing where all is empty. `streams` as `own_streams` gives them.

    Recurring tasks do not count: they go with the queue. Those that are stored, that is: what the specification lists
    may be others. Nor do records of what is done, and how far Redrives have come.
    """
    messages = {
        stream: info["state"]["messages"] - sum((info["state"].get("subjects") or {}).values())
        for stream, info in streams.items()
    }
    messages.pop(queue.name.history_stream, 0)
    for stream in messages:
        messages[stream] -= min(streams[stream].get("checkpoints", 0), messages[stream])
    dead = messages.pop(queue.name.dead_letter_stream, 0)
    # The counter is asked after the stream: what has been scheduled meanwhile is no task that is due.
    scheduled = {stream: min(streams[stream]["scheduled"], count) for stream, count in messages.items()}
    due, not_due = sum(messages.values()) - sum(scheduled.values()), sum(scheduled.values())
    held = ((due, "task", ""), (not_due, "task", "not yet due"), (dead, "dead letter", ""))
    return ", ".join(counted(count, *what) for count, *what in held if count)


async def _stream(queue: Queue, name: str, jetstream: JetStream) -> Json | None:
    info = await jetstream.stream(name, queue.name.all_recurring)
    if info is None or name in (queue.name.dead_letter_stream, queue.name.history_stream):
        return info
    if not info["state"]["messages"]:
        return {**info, "scheduled": 0}
    counter = await jetstream.consumer(name, SCHEDULED_CONSUMER)
    checkpoints = await jetstream.count(name, queue.name.all_checkpoints)
    return {**info, "scheduled": counter["num_pending"] if counter else 0, "checkpoints": checkpoints}

"""The contents of a queue's streams in one NATS account."""

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
    """The queue's own existing streams, by name, in order of creation; recurring tasks by subject.

    `scheduled` is how many tasks of a stream are not yet due, `checkpoints` how many messages belong to Redrives.
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
    """Whether a queue's stream exists and is not `owner`'s; its entries, schedules and consumers then are not either.

    Raises BrokerUnavailable.
    """
    info = await jetstream.stream(stream)
    return info is not None and not is_owned(owner, namespace_uid, adopts, Stream.observed(info["config"]))


def contents(queue: Queue, streams: Mapping[str, Json]) -> str:
    """The contents in words; empty if nothing is stored. `streams` as `own_streams` gives them.

    Stored recurring tasks do not count, as they go with the queue; those in the specification may differ. Nor do
    records of finished attempts, or the progress of Redrives.
    """
    messages = {
        stream: info["state"]["messages"] - sum((info["state"].get("subjects") or {}).values())
        for stream, info in streams.items()
    }
    messages.pop(queue.name.history_stream, 0)
    for stream in messages:
        messages[stream] -= min(streams[stream].get("checkpoints", 0), messages[stream])
    dead = messages.pop(queue.name.dead_letter_stream, 0)
    # The counter is read after the stream: tasks scheduled meanwhile are not due ones.
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

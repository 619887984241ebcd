"""Checkpoints in the streams of a queue: finding, settling and removing them."""

import asyncio
import base64
from collections.abc import Collection
from dataclasses import dataclass

from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.redrive.checkpoint import Checkpoint
from protoqueue_operator.redrive.state import Turn


@dataclass(frozen=True)
class Place:
    """The streams of a queue's tasks and dead letters."""

    broker: Broker
    queue: Queue
    spec: QueueSpec
    layout: Layout


@dataclass(frozen=True)
class Found:
    """A stored checkpoint."""

    stream: str
    sequence: int
    checkpoint: Checkpoint


async def find(place: Place, redrive: str) -> list[Found]:
    """The checkpoints of the Redrive with this uid, at most one per stream.

    Raises BrokerUnavailable and BrokerRefused.
    """
    subject = place.queue.name.checkpoint(redrive)
    found = await asyncio.gather(*(_last(place, stream, subject) for stream in place.layout.holding))
    return [each for each in found if each]


async def settle(place: Place, turn: Turn, redrives: Collection[str]) -> None:
    """Ensure that the letters any Redrive has put back are deleted.

    Checkpoints of Redrives other than `redrives` are removed. To be called with the turn. Raises BrokerUnavailable and
    BrokerRefused.
    """
    if turn.is_settled:
        return
    name, jetstream = place.queue.name, place.broker.jetstream
    for stream in place.layout.holding:
        for subject in await jetstream.subjects(stream, name.all_checkpoints):
            if found := await _last(place, stream, subject):
                await jetstream.delete_messages(name.dead_letter_stream, found.checkpoint.letters)
            if subject.rpartition(".")[2] not in redrives:
                await jetstream.purge(stream, subject)
    turn.is_settled = True


async def remove(place: Place, redrive: str) -> None:
    """Delete the checkpoint. Raises BrokerUnavailable and BrokerRefused."""
    subject = place.queue.name.checkpoint(redrive)
    await asyncio.gather(*(place.broker.jetstream.purge(stream, subject) for stream in place.layout.holding))


async def _last(place: Place, stream: str, subject: str) -> Found | None:
    message = await place.broker.jetstream.last_message(stream, subject)
    checkpoint = Checkpoint.decode(base64.b64decode(message.get("data", ""))) if message else None
    return Found(stream, message["seq"], checkpoint) if message and checkpoint else None

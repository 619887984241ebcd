"""Running each slot of a recurring task once.

A killed NATS server may fire a slot again when it is back. The second message has another sequence, but belongs to the
same slot.
"""

import contextlib
import json
import logging
import re

from protoqueue.broker import Broker, Delivery, WrongRevision
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.recurring import jitter_delay, slot_of
from protoqueue.protocol.task_codec import read_task
from protoqueue.settlement.outcome import CANCELLED, Executed, Jittered
from protoqueue.settlement.retry_forever import retry_forever

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_PLACE = re.compile(r"[0-9]+(-[A-Z]+)?")
_MOST_SLOTS = 16
"""How many slots of a schedule are remembered: a restarted server fires the last one again."""


class Firings:
    """The slots that a group has started, in `pq-done`: one entry per schedule."""

    def __init__(self, broker: Broker, group: GroupName) -> None:
        self._broker = broker
        self._group = group

    async def before_start(self, delivery: Delivery) -> Executed | None:
        """What becomes of a firing that is not to be started now: its slot is taken, or its jitter puts it off."""
        if await self.is_repeated(delivery):
            log.info(
                "a schedule fired twice for the same time, the second task is dropped: subject=%s", delivery.subject
            )
            return Executed(CANCELLED, None)
        delay = jitter_delay(delivery.headers, delivery.stored_ns, self._broker.now())
        if delay is None:
            return None
        task = read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream)
        return Executed(Jittered(delay), task)

    async def is_repeated(self, delivery: Delivery) -> bool:
        """Whether another message of this slot was started before; if not, records this one. Waits for NATS."""
        slot = slot_of(delivery.headers)
        if slot is None:
            return False
        key = self._group.firings_key(slot[0])
        return await retry_forever(lambda: self._claim(key, slot[1], _mark(delivery)), "the firings of a schedule")

    async def _claim(self, key: str, slot: str, mark: int | str) -> bool:
        while True:
            entry = await self._broker.read_key(DONE_BUCKET, key, TIMEOUT_S)
            begun = _decoded(entry.value)
            if slot in begun:
                return begun[slot] != mark
            kept = dict([*begun.items(), (slot, mark)][-_MOST_SLOTS:])
            with contextlib.suppress(WrongRevision):  # another worker was quicker
                await self._broker.write_key(DONE_BUCKET, key, json.dumps(kept).encode(), entry.number, TIMEOUT_S)
                return False


def _mark(delivery: Delivery) -> int | str:
    """The place of a message: a number where its sequence says it all."""
    place = delivery.place
    return int(place) if place.isdigit() else place


def _decoded(value: bytes | None) -> dict[str, int | str]:
    """The message's mark by slot; empty for another writer's content."""
    with contextlib.suppress(ValueError):
        begun = json.loads(value or b"{}")
        if isinstance(begun, dict):
            return {slot: mark for slot, mark in begun.items() if _PLACE.fullmatch(str(mark))}
    return {}

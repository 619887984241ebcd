"""Stored dead letters, and the message that redrives one. Pure."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from protoqueue.protocol.dead_letter_header import parse_moment
from protoqueue.protocol.message_headers import Header, is_header_name
from protoqueue.protocol.message_ids import redrive_message_id
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.subjects import Slot, lane_slot, lanes_of, level_of, partition_of
from protoqueue.task import MAX_PRIORITY, MIN_PRIORITY

_SEAL_DIGITS = 24
KEPT = (Header.DEAD_LETTER, Header.UNIQUE, Header.UNIQUE_UNTIL)
"""Those of our headers that a redriven task keeps."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a queue: its levels and, where it is fair, its lanes, or its partitions."""

    levels: int
    partitions: int = 0
    lanes: int = 0


def redriven_subject(
    queue: QueueName, group: str, priority: int, ordering_key: str, fairness_key: str, shape: Shape
) -> str:
    """The subject to which a task given up by `group` goes back. An ordered task joins the end of its partition."""
    return queue.retry(group, slot_in(priority, ordering_key, fairness_key, shape))


def slot_in(priority: int, ordering_key: str, fairness_key: str, shape: Shape) -> Slot:
    """The slot of a task that died, whatever priority another producer gave it: in the first lane of its key."""
    if shape.partitions:
        return partition_of(ordering_key, shape.partitions)
    level = level_of(priority if MIN_PRIORITY <= priority <= MAX_PRIORITY else 0, shape.levels)
    if shape.lanes and fairness_key:
        return lane_slot(level, lanes_of(fairness_key, shape.lanes)[0])
    return level


def redriven_headers(
    headers: Iterable[tuple[str, str]], redrives: int, task_id: str, group: str, sequence: int
) -> dict[str, str]:
    """Of the message that puts back the letter at `sequence`: fresh attempts, and an id that is not sealed yet.

    Of the letter's headers those go along that are neither NATS' nor ours, such as the trace, those of its unique key,
    and the one that tells why it was a dead letter of another queue before it died in this one. `redrives` is how often
    it was put back before.
    """
    kept = {
        name: text
        for name, text in headers
        if name in KEPT or (not name.startswith(("Nats-", "Pq-")) and is_header_name(name) and text.isprintable())
    }
    kept[Header.MSG_ID] = redrive_message_id(task_id, group, sequence)
    kept[Header.ATTEMPT] = "1"
    kept[Header.REDRIVES] = str(1 + redrives)
    return kept


def failed_at(headers: Mapping[str, str]) -> datetime | None:
    """When the last attempt failed; None if the letter does not say."""
    return parse_moment(headers.get(Header.FAILED_AT, ""))


def sealed(message_id: str, key: bytes) -> str:
    """The message id as producers cannot know it: `protoqueue.settlement.message_seal` explains why."""
    return f"{message_id}:{hmac.digest(key, message_id.encode(), 'sha256').hex()[:_SEAL_DIGITS]}"

"""A dead letter as a task of another queue, and such a task on its way back. Pure."""

import json
from datetime import datetime

from protoqueue.broker import Delivery, Message
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.dead_letter_header import read_dead_letter, write_dead_letter
from protoqueue.protocol.dead_letters import Shape, failed_at, slot_in
from protoqueue.protocol.message_headers import Header, schedule_at, time_to_live
from protoqueue.protocol.message_ids import letter_message_id, return_message_id, scheduled_return
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.subjects import Slot
from protoqueue.protocol.task_codec import count_of, with_id
from protoqueue.settlement.messages import carried
from protoqueue.task import DeadLetterInfo, Task

_OF_AN_ATTEMPT = (Header.ATTEMPT, Header.UNFIT_SINCE)
_OF_A_LETTER = (
    Header.REASON, Header.ERROR, Header.ERROR_TYPE, Header.TRACEBACK, Header.ATTEMPTS, Header.MAX_ATTEMPTS,
    Header.GROUP, Header.WORKER, Header.FAILED_AT, Header.STREAM_SEQUENCE,
)  # fmt: skip


def letter_task(letter: Message, task: Task, source: GroupName, place: str, target: QueueSettings) -> Message:
    """The message that turns a letter, as stored in the dead-letter stream of `source`, into a task of `target`.

    The task starts with fresh attempts; it keeps its id, even if that was not its producer's. `place` is that of the
    message that died.
    """
    headers = letter.headers
    info = DeadLetterInfo(
        reason=headers.get(Header.REASON, ""),
        queue=str(source.queue),
        group=source.name,
        error=headers.get(Header.ERROR, ""),
        error_type=headers.get(Header.ERROR_TYPE, ""),
        traceback=parse_text(headers.get(Header.TRACEBACK, "")),
        attempts=count_of(headers.get(Header.ATTEMPTS)),
        failed_at=failed_at(headers),
        worker=headers.get(Header.WORKER, ""),
        previous=read_dead_letter(headers),
    )
    kept = {name: text for name, text in carried(headers).items() if name not in (*_OF_A_LETTER, *_OF_AN_ATTEMPT)}
    kept |= {
        Header.MSG_ID: letter_message_id(task.id, source, place),
        Header.DEAD_LETTER: write_dead_letter(info),
    }
    return Message(_new_task_subject(task, target), with_id(letter.data, task.id), kept)


def returned_task(
    delivery: Delivery, task: Task, info: DeadLetterInfo, group: GroupName, source: QueueSettings, due: datetime
) -> Message:
    """The schedule by which a letter that `group` had goes back to the group of `source` that gave it up.

    It is a schedule even if it is due at once: a full queue accepts those. `previous` is left where the queue it goes
    back to had it as a letter itself.
    """
    headers = {name: text for name, text in carried(delivery.headers).items() if name not in _OF_AN_ATTEMPT}
    del headers[Header.DEAD_LETTER]
    if info.previous:
        headers[Header.DEAD_LETTER] = write_dead_letter(info.previous)
    headers |= {
        Header.MSG_ID: return_message_id(task.id, group, delivery.place),
        Header.ATTEMPT: "1",
        Header.REDRIVES: str(1 + count_of(delivery.headers.get(Header.REDRIVES))),
        Header.SCHEDULE: schedule_at(due),
        Header.SCHEDULE_TARGET: source.name.due(source.name.retry(info.group, _slot_in(task, source))),
    }
    if source.max_age_s is not None:
        headers[Header.SCHEDULE_TTL] = time_to_live(source.max_age_s)
    subject = source.name.scheduled(scheduled_return(task.id, group, delivery.place))
    return Message(subject, with_id(delivery.data, task.id), headers)


def _slot_in(task: Task, queue: QueueSettings) -> Slot:
    shape = Shape(queue.priority_levels, queue.partitions, queue.lanes)
    return slot_in(task.priority, task.ordering_key, task.fairness_key, shape)


def parse_text(text: str) -> str:
    """Parse a text written as JSON, since a header is one line."""
    try:
        return str(json.loads(text)) if text else ""
    except (ValueError, RecursionError):
        return text


def _new_task_subject(task: Task, queue: QueueSettings) -> str:
    slot = _slot_in(task, queue)
    return queue.name.ordered(slot) if queue.partitions else queue.name.task(slot)

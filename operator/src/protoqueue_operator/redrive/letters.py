"""Dead letters as read, and the messages that put them back."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from protoqueue.protocol.dead_letters import KEPT, Shape, failed_at, redriven_headers, redriven_subject, sealed
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.task_codec import count_of
from protoqueue.protocol.task_ids import anonymous_id, recurring_id
from protoqueue.protocol.v1 import task_pb2
from protoqueue_operator.jetstream.atomic_batch import Message
from protoqueue_operator.jetstream.stream_reader import RawHeaders, Stored
from protoqueue_operator.redrive.plan import Letter


@dataclass(slots=True)  # frozen costs a microsecond a letter
class DeadLetter:
    """A letter with everything needed to put it back."""

    letter: Letter
    task_id: str
    priority: int
    ordering_key: str
    fairness_key: str
    data: bytes
    headers: RawHeaders
    follows_others: bool = False
    """Whether letters that do not match were read before it."""
    message: Message | None = None
    """The message that puts it back, once built."""


def parse(stored: Stored, queue: QueueName, *, with_reason: bool) -> DeadLetter:
    """Bytes that are not a task are a letter too. `with_reason`: also parse what a filter needs, which takes time."""
    headers, sequence = stored.headers, stored.sequence
    try:
        task = task_pb2.Task.FromString(stored.data)
    except DecodeError:
        task = task_pb2.Task()
    letter = Letter(
        sequence=sequence,
        group=stored.subject.removeprefix(queue.dead_letter("")),
        reason=headers.get(Header.REASON, "") if with_reason else "",
        type=task.type,
        error_type=headers.get(Header.ERROR_TYPE, "") if with_reason else "",
        failed_at=failed_at(headers) if with_reason else None,
        size=len(stored.data),
    )
    return DeadLetter(
        letter=letter,
        task_id=recurring_id(headers, sequence) or task.id or anonymous_id(sequence),
        priority=task.metadata.priority,
        ordering_key=task.ordering_key,
        fairness_key=task.fairness_key,
        data=stored.data,
        headers=headers,
    )


def put_back(dead: DeadLetter, queue: QueueName, shape: Shape, key: bytes) -> Message:
    """The message that puts it back; `key` seals the ids of the group's messages."""
    letter = dead.letter
    subject = redriven_subject(queue, letter.group, dead.priority, dead.ordering_key, dead.fairness_key, shape)
    others = list(dead.headers.foreign())
    others += [(name, text) for name in KEPT if (text := dead.headers.get(name)) is not None]
    redrives = count_of(dead.headers.get(Header.REDRIVES))
    headers = redriven_headers(others, redrives, dead.task_id, letter.group, letter.sequence)
    headers[Header.MSG_ID] = sealed(headers[Header.MSG_ID], key)
    return Message(subject, dead.data, headers)

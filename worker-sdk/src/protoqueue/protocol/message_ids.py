"""Identities of each publish of a task, so that a repeated one is stored once.

That is its message id (`Nats-Msg-Id`), and for a scheduled one the end of its subject.
"""

from protoqueue.protocol.names import GroupName
from protoqueue.protocol.subjects import scheduled_task
from protoqueue.protocol.tokens import bounded


def dedup_message_id(dedup_id: str, after: int = 0) -> str:
    """`Nats-Msg-Id` of a new task with a `dedup_id`, which never equals a task's own id.

    `after` is the stream sequence of the task before it, which was cancelled or purged.
    """
    return f"dedup~{after}:{dedup_id}" if after else f"dedup:{dedup_id}"


def claim_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a redriven task that takes its unique key again; `place` of the message it replaces."""
    return f"{bounded(task_id)}:{group}:unique:{place}"


def retry_message_id(task_id: str, group: str, attempt: int, place: str | None = None) -> str:
    """`Nats-Msg-Id` of the publish that schedules `attempt`: the same after a crash, so stored once.

    `place` is that of the message it replaces. It is left out if no other message can have the same id.
    """
    return f"{bounded(task_id)}:{_run(group, attempt, place)}"


def redrive_message_id(task_id: str, group: str, sequence: int) -> str:
    """`Nats-Msg-Id` of the redrive of the dead letter at `sequence`: stored once, however often it is tried."""
    return f"{bounded(task_id)}:{group}:redrive:{sequence}"


def moved_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a task that is moved to the queue's stream; `place` of the message it replaces."""
    return f"{bounded(task_id)}:{group}:moved:{place}"


def dead_letter_message_id(task_id: str, group: str, place: str) -> str:
    """`Nats-Msg-Id` of a dead letter; `place` of the message that died."""
    return f"{bounded(task_id)}:{group}:dead:{place}"


def letter_message_id(task_id: str, group: GroupName, place: str) -> str:
    """`Nats-Msg-Id` of a dead letter as a task of another queue, which may get those of several queues."""
    return f"{bounded(task_id)}:{group}:dead:{place}"


def return_message_id(task_id: str, group: GroupName, place: str) -> str:
    """`Nats-Msg-Id` of a dead letter that `group`, which had it at `place`, sends back to where it came from."""
    return f"{bounded(task_id)}:{group}:redrive:{place}"


def scheduled_retry(task_id: str, group: str, attempt: int, place: str | None = None) -> str:
    """The `<unique>` under `scheduled.` of a waiting retry: a token of the task's own, so that its id leads here.

    It says by `place`, as its message id does, whether there may be others of the task's id.
    """
    return f"{scheduled_task(task_id)}.{_run(group, attempt, place)}"


def scheduled_return(task_id: str, group: GroupName, place: str) -> str:
    """The `<unique>` under `scheduled.` of a dead letter that `group` sends back: a token of the task's own too."""
    return f"{scheduled_task(task_id)}.{group.queue.name}:{group.name}:redrive:{place}"


def place_of(stream: str, sequence: int) -> str:
    """The place of a task's message, among all streams of its queue.

    That is `12`, or `12-NEW` outside the main stream. Each stream has its own sequences, so the sequence alone may be
    another task's.
    """
    kind = stream.split("_")[3:]
    return f"{sequence}-{kind[0]}" if kind else str(sequence)


def _run(group: str, attempt: int, place: str | None) -> str:
    return f"{group}:{attempt}" if place is None else f"{group}:{attempt}:{place}"

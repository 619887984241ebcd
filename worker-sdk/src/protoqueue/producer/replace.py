"""Storing a task in place of the one of its replace key that is not yet due.

One publish does both: JetStream stores the task if the one that was found is still the last of the key, and removes
the schedule of that in the same step. What fires in that very moment removes its own schedule and no other, so that no
task is lost; `settlement.replaced` keeps it from being run.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from protoqueue.broker import Broker, StoredMessage, WrongRevision
from protoqueue.errors import PermissionDenied, Unavailable
from protoqueue.producer.prepare import Prepared
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.replaced_header import REMOVED, read_replaced, write_replaced
from protoqueue.protocol.schedule_header import due_at
from protoqueue.protocol.task_codec import read_task
from protoqueue.task import Receipt, Task

_LOOK_S = 2.0
_READS_AT_ONCE = 50


async def publish_replacing(
    broker: Broker,
    prepared: Prepared,
    timeout_s: float | None,
    store: Callable[[Prepared, float | None], Awaitable[Receipt]],
) -> Receipt:
    """`store` it in place of the task of its key that is not yet due; raises what that raises."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = None if timeout_s is None else max(0.001, deadline - time.monotonic())
        try:
            placed = await in_place(broker, prepared, min(left_s or _LOOK_S, _LOOK_S))
            return placed if isinstance(placed, Receipt) else await store(placed, left_s)
        except WrongRevision as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the task could not be stored in {timeout_s:g} s: others of its replace key come and go"
                ) from error
        except Unavailable:  # as when a server was killed that was to answer: whoever has time left asks another
            if time.monotonic() > deadline:
                raise


async def all_in_place(broker: Broker, batch: Sequence[Prepared], timeout_s: float | None) -> list[Prepared]:
    """The same tasks, those with a replace key in place of the ones that are there now.

    Raises WrongRevision where one is stored already, as when this batch was tried before.
    """
    reading = asyncio.Semaphore(_READS_AT_ONCE)

    async def placed(one: Prepared) -> Prepared:
        if not one.replaceable:
            return one
        async with reading:
            found = await in_place(broker, one, timeout_s or _LOOK_S)
        if isinstance(found, Receipt):
            raise WrongRevision("the task is stored")
        return found

    return list(await asyncio.gather(*map(placed, batch)))


async def in_place(broker: Broker, prepared: Prepared, timeout_s: float) -> Prepared | Receipt:
    """The task as it is to be stored now, or its receipt where an earlier try was. Raises PermissionDenied."""
    try:
        holder = await broker.last_message(prepared.stream, prepared.replaceable, timeout_s)
    except PermissionDenied as error:
        raise PermissionDenied(
            f"to replace a task this user looks for it in the stream {prepared.stream}: grant "
            f"$JS.API.STREAM.MSG.GET.{prepared.stream}, or remove replace"
        ) from error
    if holder is None:
        return prepared
    task = _task_of(holder)
    if task.id == prepared.task_id:
        replaced = read_replaced(holder.headers)
        return Receipt(task.id, replaced=replaced[-1] if replaced else "")
    return replacing(prepared, holder, task, broker.now())


def replacing(prepared: Prepared, holder: StoredMessage, task: Task, now: datetime) -> Prepared:
    """The task, to be stored in place of the one that `holder` holds, or beside it where that is due. Pure."""
    headers = {**prepared.headers, Header.EXPECTED_SEQUENCE: str(holder.sequence)}
    due = due_at(holder.headers)
    if due is not None and due <= now:
        return replace(prepared, headers=headers)
    headers |= {Header.SCHEDULE_NEXT: REMOVED, Header.SCHEDULER: holder.subject}
    headers[Header.REPLACED] = write_replaced((*read_replaced(holder.headers), task.id))
    return replace(prepared, headers=headers, replaced=task)


def _task_of(holder: StoredMessage) -> Task:
    return read_task(holder.data, holder.headers, holder.sequence, holder.stream)

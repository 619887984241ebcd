"""Taking a task back by its id, wherever it is.

What is not yet due, or waits for its retry, lies on a subject that holds its id. What is ready or with a worker lies
on a subject that many share: the queue is looked through, from where the time in the id leads to. What runs is stopped
by its worker: all are asked.
"""

import time
from datetime import datetime, timedelta

from protoqueue.connection import Broker, StoredMessage
from protoqueue.errors import Unavailable
from protoqueue.ids import made_at, sequence_in
from protoqueue.naming import scheduled_task
from protoqueue.peek import task_of
from protoqueue.settings import QueueSettings

CLOCK_SKEW = timedelta(minutes=1)
"""By how much a producer's clock may be ahead of the server's for its tasks to be found at once."""

_ANSWER_S, _QUICK_ANSWER_S = 1.0, 0.25


async def cancel_task(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> bool:
    """Whether it was there; raises Unavailable, also when the queue cannot be looked through in time."""
    deadline = time.monotonic() + timeout_s
    waited = await _forget_scheduled(broker, queue, task_id, timeout_s)
    if waited and not queue.broadcast:
        return True
    removed = await _remove_stored(broker, queue, task_id, deadline, timeout_s)
    patience_s = _QUICK_ANSWER_S if removed else _ANSWER_S
    stopped = await broker.call(queue.name.cancellations, task_id.encode(), min(timeout_s, patience_s))
    if removed and not stopped:  # it may have run, failed and stored its retry just before it was removed
        await _forget_scheduled(broker, queue, task_id, timeout_s)
    return waited or removed or stopped


async def _forget_scheduled(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> bool:
    delayed = queue.name.scheduled(scheduled_task(task_id))
    counts = [await broker.purge(queue.later_stream, subject, timeout_s) for subject in (delayed, f"{delayed}.>")]
    return any(counts)


async def _remove_stored(broker: Broker, queue: QueueSettings, task_id: str, deadline: float, timeout_s: float) -> bool:
    """Remove the task from the queue's stream; of a Broadcast queue also the retries of it that groups wait for."""
    removed, looked_at = False, 0
    sequence = await _first_place(broker, queue, task_id, timeout_s)
    while (message := await broker.next_message(queue.stream, sequence, ">", timeout_s)) is not None:
        looked_at += 1
        if _is(message, task_id):
            removed |= await broker.delete_message(queue.stream, message.sequence, timeout_s)
            if not queue.broadcast:
                break
        if time.monotonic() > deadline:
            raise Unavailable(f"not among the first {looked_at} tasks of {queue.name}: more take a longer timeout")
        sequence = message.sequence + 1
    return removed


def _is(message: StoredMessage, task_id: str) -> bool:
    may_be = task_id.encode() in message.data or sequence_in(task_id) == message.sequence
    return may_be and task_of(message).id == task_id


async def _first_place(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> int:
    """From which sequence on the task may lie. An id that ends like one with a sequence may be a producer's own."""
    if sequence := sequence_in(task_id):
        message = await broker.next_message(queue.stream, sequence, ">", timeout_s)
        return sequence if message is not None and _is(message, task_id) else 1
    made = made_at(task_id)
    return 1 if made is None else await _stored_since(broker, queue.stream, made - CLOCK_SKEW, timeout_s)


async def _stored_since(broker: Broker, stream: str, moment: datetime, timeout_s: float) -> int:
    """The first sequence stored at that moment or later."""
    state = await broker.stream_state(stream, timeout_s)
    low, high = (state.first_sequence, state.last_sequence + 1) if state else (1, 1)
    while low < high:
        middle = (low + high) // 2
        message = await broker.next_message(stream, middle, ">", timeout_s)
        if message is None or message.stored_at >= moment:
            high = middle
        else:
            low = message.sequence + 1
    return low

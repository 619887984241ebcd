"""Reading records: those of one task, the last ones of many, and the newest that match."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from protoqueue.admin.places import stored_messages, stored_since
from protoqueue.broker import Broker
from protoqueue.errors import HistoryDisabled
from protoqueue.history.decode import decode_record
from protoqueue.history.model import AttemptOutcome, TaskRecord
from protoqueue.protocol.config import History, QueueSettings
from protoqueue.protocol.names import QueueName

MOST_TASKS_AT_ONCE = 100
"""The answer to one request has at most 1000 records, and a task one for each of its outcomes."""

_AT_ONCE = (AttemptOutcome.DONE, AttemptOutcome.CANCELLED, AttemptOutcome.REPLACED)
_FIRST_WINDOW, _LARGEST_WINDOW, _GROWTH = 200, 20_000, 4


def history_of(queue: QueueSettings) -> History:
    """Raises HistoryDisabled."""
    if queue.history is None:
        raise HistoryDisabled(f"queue {queue.name} keeps no history: set spec.history of the Queue")
    return queue.history


async def last_records(
    broker: Broker, name: QueueName, history: History, task_ids: Sequence[str], timeout_s: float
) -> list[TaskRecord]:
    """Of each task the last record of each outcome, in their order. Raises Unavailable."""
    records: list[TaskRecord] = []
    for start in range(0, len(task_ids), MOST_TASKS_AT_ONCE):
        subjects = [name.record("*", task_id) for task_id in task_ids[start : start + MOST_TASKS_AT_ONCE]]
        messages = await broker.last_messages(history.stream, subjects, timeout_s)
        records += [record for message in messages if (record := decode_record(message)) is not None]
    return records


async def task_records(broker: Broker, queue: QueueSettings, task_id: str, timeout_s: float) -> list[TaskRecord]:
    """All records of one task, oldest first; none where the queue keeps no history. Raises Unavailable."""
    if queue.history is None:
        return []
    last = await last_records(broker, queue.name, queue.history, [task_id], timeout_s)
    if not last or (len(last) == 1 and last[0].outcome in _AT_ONCE and last[0].attempt == 1 and not queue.broadcast):
        return last  # there are no others
    place = (queue.history.stream, queue.name.record("*", task_id))
    found = [decode_record(message) async for message in stored_messages(broker, place, 1, timeout_s)]
    return _without_repeats(record for record in found if record is not None)


def _without_repeats(records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """What NATS may have stored before a connection broke was sent again."""
    kept = {
        (record.group, record.attempt, record.outcome, record.finished_at, record.worker): record for record in records
    }
    return sorted(kept.values(), key=lambda record: record.sequence)


async def newest_records(
    broker: Broker,
    queue: QueueSettings,
    outcomes: Iterable[AttemptOutcome],
    wanted: Callable[[TaskRecord], bool],
    limit: int,
    timeout_s: float,
    *,
    since: datetime | None = None,
    before: int | None = None,
) -> list[TaskRecord]:
    """Of the records with these outcomes that are `wanted` the `limit` newest, the newest first.

    Those that were stored at `since` or later, and of lower sequences than `before`. Raises HistoryDisabled and
    Unavailable.
    """
    history = history_of(queue)
    subjects = [queue.name.records(outcome.token) for outcome in outcomes]
    state = await broker.stream_state(history.stream, timeout_s)
    if state is None or not state.messages:
        return []
    first = state.first_sequence
    if since is not None:
        first = max(first, await stored_since(broker, history.stream, since, timeout_s))
    end = state.last_sequence if before is None else min(state.last_sequence, before - 1)
    found: list[TaskRecord] = []
    window = _FIRST_WINDOW
    while end >= first and len(found) < limit:
        start = max(first, end - window + 1)
        matching: list[TaskRecord] = []
        for subject in subjects:
            newest: deque[TaskRecord] = deque(maxlen=limit - len(found))  # JetStream reads forward alone
            async for message in stored_messages(broker, (history.stream, subject), start, timeout_s, end):
                record = decode_record(message)
                if record is not None and wanted(record):
                    newest.append(record)
            matching += newest
        found += sorted(matching, key=lambda record: -record.sequence)[: limit - len(found)]
        end, window = start - 1, min(window * _GROWTH, _LARGEST_WINDOW)
    return found

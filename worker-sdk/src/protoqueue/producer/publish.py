"""Storing new tasks: one, or many in atomic batches, and one by one if a batch holds duplicates."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from protoqueue.broker import Broker, DuplicateInBatch, Turn, WrongRevision
from protoqueue.errors import PermissionDenied
from protoqueue.producer.freed_ids import is_free
from protoqueue.producer.prepare import Prepared
from protoqueue.producer.replace import all_in_place, publish_replacing
from protoqueue.producer.unique import publish_unique
from protoqueue.protocol.config import QueueSettings
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.task_codec import read_task
from protoqueue.task import Receipt, Task

BATCH_SIZE = 1000
"""The most messages JetStream stores atomically."""

BATCHES_AT_ONCE = 2
"""One is assembled while the server stores the other."""

_SINGLES_AT_ONCE = 100
_LOOK_S = 5.0

_Item = TypeVar("_Item")


Note: TypeAlias = Callable[[Task], None]
"""What is told of each task that another was stored in place of."""


async def publish(
    broker: Broker, queue: QueueSettings, prepared: Prepared, timeout_s: float | None, replaced: Note
) -> Receipt:
    """Store one task, unless the queue has one of its `dedup_id` or `unique`; raises what publishing raises."""

    async def store(task: Prepared, left_s: float | None) -> Receipt:
        return await _publish(broker, queue, task, left_s, replaced)

    if prepared.unique:
        return await publish_unique(broker, queue, prepared, timeout_s, store)
    if prepared.replaceable:
        return await publish_replacing(broker, prepared, timeout_s, store)
    return await store(prepared, timeout_s)


async def _publish(
    broker: Broker, queue: QueueSettings, prepared: Prepared, timeout_s: float | None, replaced: Note
) -> Receipt:
    """The same, of its `dedup_id` alone.

    A duplicate with the task's own id is the task itself, stored by an earlier try. If a task of its `dedup_id` was
    cancelled or purged, this one takes its place: its message id is derived from the old sequence, so that of several
    producers that find the id free only one stores its task.
    """
    while True:
        published = await broker.publish(prepared, timeout_s)
        if not published.duplicate:
            return _stored(prepared, replaced)
        if prepared.dedup_id is None:
            return Receipt(prepared.task_id)
        look_s, sequence, is_later = timeout_s or _LOOK_S, published.sequence, Header.SCHEDULE in prepared.headers
        if (stored_id := await _stored_id(broker, published.stream, sequence, look_s)) is not None:
            return Receipt(stored_id) if stored_id == prepared.task_id else _duplicate(stored_id)
        if published.stream != prepared.stream or not await is_free(
            broker, queue, prepared.dedup_id, sequence, look_s, is_later=is_later
        ):
            return _duplicate("")
        prepared = prepared.after(sequence)


def _stored(prepared: Prepared, replaced: Note) -> Receipt:
    before = prepared.replaced
    if before is None:
        return Receipt(prepared.task_id)
    replaced(before)
    return Receipt(prepared.task_id, replaced=before.id)


def _duplicate(task_id: str) -> Receipt:
    return Receipt(task_id, duplicate=True, matched="dedup_id")


async def _stored_id(broker: Broker, stream: str, sequence: int, timeout_s: float) -> str | None:
    """The id of the task at this place; None if it is gone, or this user may not read it."""
    try:
        message = await broker.next_message(stream, sequence, ">", timeout_s)
    except PermissionDenied:
        return None
    if message is None or message.sequence != sequence:
        return None
    return read_task(message.data, message.headers, message.sequence, message.stream).id


async def publish_all(
    broker: Broker, queue: QueueSettings, prepared: Sequence[Prepared], timeout_s: float | None, replaced: Note
) -> tuple[dict[str, Receipt], Exception | None]:
    """Receipts by the new task's id, and the error that ended it; each batch has a timeout of its own.

    A batch is sent while the server stores the one before it, and stored only after that. Ordered queues send one at a
    time: if a batch has to be stored one by one, its tasks and the next batch would lose their order.
    """
    receipts: dict[str, Receipt] = {}
    at_once, singles_at_once = (1, 1) if queue.partitions else (BATCHES_AT_ONCE, _SINGLES_AT_ONCE)

    async def publish_one(one: Prepared) -> None:
        receipts[one.task_id] = await publish(broker, queue, one, timeout_s, replaced)

    async def publish_batch(batch: Sequence[Prepared], turn: Turn) -> None:
        if len(batch) > 1:
            with contextlib.suppress(DuplicateInBatch, WrongRevision):
                placed = batch
                if any(one.replaceable for one in batch):
                    await turn()  # what the batch before stores may be what this one replaces
                    placed = await all_in_place(broker, batch, timeout_s)
                await broker.publish_atomic(placed, timeout_s, turn)
                receipts.update((one.task_id, _stored(one, replaced)) for one in placed)
                return
        await turn()
        await _each(publish_one, iter(batch), min(singles_at_once, len(batch)))

    try:
        await _each(_in_turn(publish_batch), _batches(prepared), at_once)
    except Exception as error:
        return receipts, error
    return receipts, None


class _Stopped(Exception):
    """The call before has failed."""


def _in_turn(act: Callable[[_Item, Turn], Awaitable[None]]) -> Callable[[_Item], Awaitable[None]]:
    """Gives each call of `act` a turn: it comes when the call before has ended, and never if that failed."""
    last, failed = asyncio.Event(), False
    last.set()

    async def in_turn(item: _Item) -> None:
        nonlocal last, failed
        before, last = last, asyncio.Event()
        ended = last

        async def turn() -> None:
            await before.wait()
            if failed:
                raise _Stopped

        try:
            await act(item, turn)
        except Exception:
            failed = True
            raise
        finally:
            ended.set()

    return in_turn


async def _each(act: Callable[[_Item], Awaitable[None]], items: Iterator[_Item], at_once: int) -> None:
    """Call `act` for all, `at_once` at a time.

    After an error nothing more starts; it is raised when the rest has ended.
    """
    failures: list[Exception] = []

    async def some() -> None:
        for item in items:
            try:
                await act(item)
            except _Stopped:
                break
            except Exception as error:
                failures.append(error)
            if failures:
                break

    await asyncio.gather(*(some() for _ in range(at_once)))
    if failures:
        raise failures[0]


def _batches(prepared: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    by_stream: dict[str, list[Prepared]] = {}
    for one in prepared:
        by_stream.setdefault(one.stream, []).append(one)
    for ones in by_stream.values():
        batch: list[Prepared] = []
        held: set[str] = set()
        for one in ones:
            if (
                len(batch) == BATCH_SIZE or one.key in held
            ):  # JetStream does not compare the members of a batch with each other
                yield batch
                batch, held = [], set()
            batch.append(one)
            if one.key:
                held.add(one.key)
        if batch:
            yield batch

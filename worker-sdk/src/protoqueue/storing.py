"""Storing many new tasks: in atomic batches, and singly where a batch holds duplicates."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from protoqueue.connection import Broker, DuplicateInBatch
from protoqueue.outgoing import Prepared
from protoqueue.task import Receipt

BATCH_SIZE = 1000
"""What JetStream stores atomically at most."""

BATCHES_AT_ONCE = 2
"""One is put together while the server stores the other."""

_SINGLES_AT_ONCE = 100

_Item = TypeVar("_Item")


async def store_all(
    broker: Broker, prepared: Sequence[Prepared], at_once: int, timeout_s: float | None
) -> dict[str, Receipt]:
    """Receipts by task id; so many batches `at_once`, each with its own timeout. Raises what publishing raises."""

    async def store(batch: Sequence[Prepared]) -> Iterable[Receipt]:
        if len(batch) > 1:
            with contextlib.suppress(DuplicateInBatch):
                await broker.publish_atomic(batch, timeout_s)
                return [Receipt(one.task_id) for one in batch]
        return (await _stored(store_one, iter(batch), min(_SINGLES_AT_ONCE, len(batch)))).values()

    async def store_one(one: Prepared) -> Iterable[Receipt]:
        return [one.receipt(await broker.publish(one, timeout_s))]

    return await _stored(store, _batches(prepared), at_once)


async def _stored(
    store: Callable[[_Item], Awaitable[Iterable[Receipt]]], items: Iterator[_Item], at_once: int
) -> dict[str, Receipt]:
    """Receipts by id. After an error nothing more is begun; what is under way has ended when it is raised."""
    receipts: dict[str, Receipt] = {}
    failures: list[Exception] = []

    async def store_some() -> None:
        for item in items:
            try:
                receipts.update((receipt.id, receipt) for receipt in await store(item))
            except Exception as error:
                failures.append(error)
            if failures:
                break

    await asyncio.gather(*(store_some() for _ in range(at_once)))
    if failures:
        raise failures[0]
    return receipts


def _batches(prepared: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    by_stream: dict[str, list[Prepared]] = {}
    for one in prepared:
        by_stream.setdefault(one.stream, []).append(one)
    for ones in by_stream.values():
        for start in range(0, len(ones), BATCH_SIZE):
            yield ones[start : start + BATCH_SIZE]

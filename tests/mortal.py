"""A worker's connection that dies at a chosen step, and the worker with it: kills by the thousand in one process."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import protoqueue
from protoqueue.aio import cancel
from protoqueue.broker import Broker, Delivery, Inbox
from protoqueue.broker.interface import Ended, Receive
from protoqueue.protocol.buckets import DONE_BUCKET


class Mortal:
    """Passes everything on until it is killed; from then on nothing comes or goes, as with a process that is no more.

    `deadly` is asked at each step. What is on its way when it says yes never returns.
    """

    def __init__(self, broker: Broker, deadly: Callable[[str], bool]) -> None:
        self._broker = broker
        self._deadly = deadly
        self.killed_at: str | None = None
        self.killed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        passed_on = getattr(self._broker, name)
        if not inspect.iscoroutinefunction(passed_on):
            return passed_on

        async def call(*arguments: Any) -> Any:
            self._die_if_killed()
            return await passed_on(*arguments)

        return call

    def _die_if_killed(self) -> None:
        if self.killed_at is not None:
            raise protoqueue.Unavailable("killed")

    async def step(self, name: str) -> None:
        """Be killed here, perhaps."""
        self._die_if_killed()
        if self._deadly(name):
            self.killed_at = name
            self.killed.set()
            await asyncio.Event().wait()

    async def read_key(self, bucket: str, key: str, timeout_s: float) -> Any:
        if _is_ledger(bucket, key):
            await self.step("before looking into the ledger")
        self._die_if_killed()
        return await self._broker.read_key(bucket, key, timeout_s)

    async def write_key(self, bucket: str, key: str, value: bytes, revision: int, timeout_s: float) -> int:
        if not _is_ledger(bucket, key):
            self._die_if_killed()
            return await self._broker.write_key(bucket, key, value, revision, timeout_s)
        await self.step("before the ledger")
        number = await self._broker.write_key(bucket, key, value, revision, timeout_s)
        await self.step("after the ledger")
        return number

    async def answer_confirmed(self, reply: str, token: bytes, timeout_s: float) -> None:
        await self.step("before the ack")
        await self._broker.answer_confirmed(reply, token, timeout_s)
        await self.step("after the ack")

    def open_inbox(self, stream: str, consumer: str, receive: Receive, ended: Ended) -> Inbox:
        def heard(delivery: Delivery) -> None:
            if self.killed_at is None:
                receive(delivery)

        return self._broker.open_inbox(stream, consumer, heard, ended)


def _is_ledger(bucket: str, key: str) -> bool:
    """The notes about deliveries lie in the same bucket, under longer keys."""
    return bucket == DONE_BUCKET and key.count(".") == 3


async def live(worker: protoqueue.Worker, mortal: Mortal, deaths: Counter[str]) -> None:
    """Have a worker work until it is killed, which is counted, or this is cancelled."""
    serving = asyncio.create_task(worker.serve(mortal))  # type: ignore[arg-type]  # it is one by delegation
    try:
        await mortal.killed.wait()
        deaths[mortal.killed_at or ""] += 1
    finally:
        mortal.killed_at = mortal.killed_at or "the end"
        await cancel(serving)

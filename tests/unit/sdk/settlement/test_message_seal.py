"""The key that a group's message ids are sealed with."""

import asyncio

from protoqueue.broker import Message
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.v1 import config_pb2
from protoqueue.settlement.message_seal import Seals
from protoqueue.testing import InMemory
from protoqueue.testing.memory import MemoryBroker

QUEUE = QueueName("default", "q")
GROUP, OTHER = GroupName(QUEUE, "g"), GroupName(QUEUE, "h")
MESSAGE = Message(QUEUE.task(0), b"", {Header.MSG_ID: "id:g:2"})


def broker() -> MemoryBroker:
    memory = InMemory()
    memory.add_queue(config_pb2.QueueConfig(namespace="default", name="q", priority_levels=1))
    return memory.broker


async def is_stored(seals: Seals, group: GroupName = GROUP) -> bool:
    return not (await seals.publish(MESSAGE, group, 5)).duplicate


async def test_workers_of_a_group_store_a_message_once_and_those_of_another_are_not_in_their_way() -> None:
    shared = broker()
    assert [await is_stored(Seals(shared)) for _ in range(3)] == [True, False, False]
    assert await is_stored(Seals(shared), OTHER)


async def test_a_message_without_an_id_gets_none() -> None:
    seals = Seals(broker())
    for _ in range(2):
        assert not (await seals.publish(Message(QUEUE.task(0), b""), GROUP, 5)).duplicate


async def test_a_key_that_the_bucket_forgot_is_put_back_by_who_has_it(monkeypatch) -> None:
    monkeypatch.setattr("protoqueue.settlement.message_seal.REREAD_S", 0.0)
    shared = broker()
    old = Seals(shared)
    assert await is_stored(old)
    before = shared.key(DONE_BUCKET, GROUP.seal_key).value
    shared.put_key(DONE_BUCKET, GROUP.seal_key, None)
    assert not await is_stored(old)
    assert shared.key(DONE_BUCKET, GROUP.seal_key).value == before
    assert not await is_stored(Seals(shared))


async def test_what_is_published_together_is_stored_in_its_order_though_the_key_is_not_known_yet() -> None:
    shared = broker()
    seals = Seals(shared)
    messages = [Message(QUEUE.task(0), str(n).encode(), {Header.MSG_ID: str(n)}) for n in range(20)]
    await asyncio.gather(*(seals.publish(message, GROUP, 5) for message in messages))
    stored = [entry.message.data for entry in shared.streams[QUEUE.stream].entries.values()]
    assert stored == [message.data for message in messages]

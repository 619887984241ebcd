"""ProtoQueue in memory, for tests of what is built on it: no server, the same semantics, and time that can be moved.

    async def test_a_new_user_is_welcomed():
        async with in_memory("default/email", group="mailers") as memory:
            queue = await memory.client.queue("default/email")
            await queue.enqueue({"to": "a@b.c"}, delay=3600)
            await memory.advance(3600)
            assert await worker.run_once() == 1

Inside the block every `connect()` and every worker of the process uses it. Code without an event loop, which uses
`protoqueue.sync`, is tested with `sync_in_memory`.
"""

from protoqueue.testing.backend import InMemory, in_memory
from protoqueue.testing.blocking import SyncInMemory, sync_in_memory
from protoqueue.testing.memory import MemoryBroker

__all__ = ["InMemory", "MemoryBroker", "SyncInMemory", "in_memory", "sync_in_memory"]

import asyncio
from urllib.parse import urlparse

from protoqueue.broker.tcp import BoundedTcp


async def test_one_who_is_cancelled_while_a_connection_ends_takes_the_end_from_nobody_else() -> None:
    """nats-py cancels its reconnecting while that waits, and waits itself then: cancelled too, it never reconnects."""
    left = asyncio.Event()

    async def read_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await left.wait()
        writer.close()

    server = await asyncio.start_server(read_nothing, "127.0.0.1", 0)
    transport = BoundedTcp()
    await transport.connect(urlparse(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"), 1024, 1)
    transport.write(b"x" * (64 << 20))  # more than all buffers on the way hold, so that closing takes its time
    transport.close()
    waiting = asyncio.create_task(transport.wait_closed())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    await transport.wait_closed()
    left.set()
    server.close()

"""The operator's HTTP port, held by who wants nothing of it."""

import asyncio
import contextlib

import aiohttp
from prometheus_client import CollectorRegistry

from ports import free_port
from protoqueue_operator.runtime.health import MonitoringServer
from waiting import eventually


async def test_connections_that_ask_nothing_are_closed_and_keep_no_probe_out() -> None:
    port = free_port()
    server = MonitoringServer(f"http://127.0.0.1:{port}/healthz", CollectorRegistry(), lambda: None, lambda: None)
    await server.start()
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
    try:

        async def answers() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as response:
                return response.status == 200

        def closed() -> int:
            return sum(reader.at_eof() for reader, _ in opened)

        await eventually(lambda: closed() >= 300)
        assert closed() < 400, "those that are few are left alone for a while"
        assert await answers()
        await eventually(lambda: closed() == 400, timeout_s=120)
        assert await answers()
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.stop()

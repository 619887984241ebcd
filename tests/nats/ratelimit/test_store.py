import time
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

import nats
from protoqueue.errors import Unavailable
from protoqueue.naming import RATE_BUCKET
from protoqueue.ratelimit import RateBucket
from protoqueue.ratelimit.store import Entry, StateMoved


@pytest.fixture
async def connection(server) -> AsyncIterator[Client]:
    async with await nats.connect(server.url) as connection:
        yield connection


async def test_only_the_latest_revision_can_be_followed(connection):
    store = RateBucket(connection)
    assert await store.get("a.b") is None
    first = await store.put_if("a.b", b"one", 0)
    assert await store.get("a.b") == Entry(b"one", first)
    with pytest.raises(StateMoved):
        await store.put_if("a.b", b"zero", 0)
    second = await store.put_if("a.b", b"two", first)
    with pytest.raises(StateMoved):
        await store.put_if("a.b", b"again", first)
    assert await store.get("a.b") == Entry(b"two", second)


async def test_what_an_ordinary_key_value_client_writes_and_deletes_is_seen(connection):
    bucket = await connection.jetstream().key_value(RATE_BUCKET)
    revision = await bucket.put("a.b", b"by hand")
    assert await RateBucket(connection).get("a.b") == Entry(b"by hand", revision)
    await bucket.delete("a.b")
    assert (await RateBucket(connection).get("a.b")).value == b""


async def test_the_server_tells_its_time(connection):
    # Test and server share a machine, so also a clock.
    assert await RateBucket(connection).server_time_us() == pytest.approx(time.time() * 1e6, abs=1e6)


async def test_a_missing_bucket_is_unavailable(connection):
    await connection.jetstream().delete_key_value(RATE_BUCKET)
    store = RateBucket(connection)
    with pytest.raises(Unavailable, match="pq-rate"):
        await store.server_time_us()
    with pytest.raises(Unavailable, match="pq-rate"):
        await store.put_if("a.b", b"one", 0)


async def test_a_connection_that_is_closed_is_unavailable(server):
    connection = await nats.connect(server.url)
    await connection.close()
    store = RateBucket(connection)
    for call in (store.get("a.b"), store.put_if("a.b", b"one", 0), store.server_time_us()):
        with pytest.raises(Unavailable):
            await call

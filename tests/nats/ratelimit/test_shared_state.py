"""What the limiter relies on: compare-and-set on one key, and the server's time."""

import time
from collections.abc import AsyncIterator

import pytest

import nats
from protoqueue.broker import ConnectionOptions, JetStreamBroker, Revision, WrongRevision
from protoqueue.errors import Unavailable
from protoqueue.protocol.buckets import CONFIG_BUCKET, RATE_BUCKET

TIMEOUT_S = 2


@pytest.fixture
async def broker(server) -> AsyncIterator[JetStreamBroker]:
    broker = await JetStreamBroker.connect(ConnectionOptions(server.url), 5)
    yield broker
    await broker.close()


@pytest.fixture
def read(broker):
    return lambda: broker.read_key(RATE_BUCKET, "a.b", TIMEOUT_S)


@pytest.fixture
def write(broker):
    return lambda value, revision: broker.write_key(RATE_BUCKET, "a.b", value, revision, TIMEOUT_S)


async def test_only_the_latest_revision_can_be_followed(read, write):
    assert await read() == Revision(None, 0)
    first = await write(b"one", 0)
    assert await read() == Revision(b"one", first)
    with pytest.raises(WrongRevision):
        await write(b"zero", 0)
    second = await write(b"two", first)
    with pytest.raises(WrongRevision):
        await write(b"again", first)
    assert await read() == Revision(b"two", second)


async def test_what_an_ordinary_key_value_client_writes_and_deletes_is_seen_and_can_be_followed(server, read, write):
    async with await nats.connect(server.url) as connection:
        bucket = await connection.jetstream().key_value(RATE_BUCKET)
        revision = await bucket.put("a.b", b"by hand")
        assert await read() == Revision(b"by hand", revision)
        await bucket.delete("a.b")
    deleted = await read()
    assert deleted == Revision(None, revision + 1)
    assert await write(b"anew", deleted.number) == revision + 2


async def test_the_server_tells_its_time(broker):
    # Test and server share a machine, so also a clock.
    assert await broker.server_time_us(TIMEOUT_S) == pytest.approx(time.time() * 1e6, abs=1e6)


async def test_a_missing_bucket_is_unavailable(server, broker, write):
    async with await nats.connect(server.url) as connection:
        for bucket in (RATE_BUCKET, CONFIG_BUCKET):
            await connection.jetstream().delete_key_value(bucket)
    with pytest.raises(Unavailable, match="pq-rate"):
        await write(b"one", 0)
    with pytest.raises(Unavailable, match="pq-config"):
        await broker.server_time_us(TIMEOUT_S)


async def test_a_connection_that_is_closed_is_unavailable(broker, read, write):
    await broker.close()
    for call in (read(), write(b"one", 0), broker.server_time_us(TIMEOUT_S)):
        with pytest.raises(Unavailable):
            await call

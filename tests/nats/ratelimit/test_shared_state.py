import time
from collections.abc import AsyncIterator

import pytest

import nats
from protoqueue.connection import ConnectionOptions, JetStreamBroker
from protoqueue.errors import Unavailable
from protoqueue.gate import BrokerStore
from protoqueue.naming import CONFIG_BUCKET, RATE_BUCKET
from protoqueue.ratelimit.store import Entry, StateMoved


@pytest.fixture
async def broker(server) -> AsyncIterator[JetStreamBroker]:
    broker = await JetStreamBroker.connect(ConnectionOptions(server.url), 5)
    yield broker
    await broker.close()


@pytest.fixture
def store(broker) -> BrokerStore:
    return BrokerStore(broker)


async def test_only_the_latest_revision_can_be_followed(store):
    assert await store.get("a.b") is None
    first = await store.put_if("a.b", b"one", 0)
    assert await store.get("a.b") == Entry(b"one", first)
    with pytest.raises(StateMoved):
        await store.put_if("a.b", b"zero", 0)
    second = await store.put_if("a.b", b"two", first)
    with pytest.raises(StateMoved):
        await store.put_if("a.b", b"again", first)
    assert await store.get("a.b") == Entry(b"two", second)


async def test_what_an_ordinary_key_value_client_writes_and_deletes_is_seen_and_can_be_followed(server, store):
    async with await nats.connect(server.url) as connection:
        bucket = await connection.jetstream().key_value(RATE_BUCKET)
        revision = await bucket.put("a.b", b"by hand")
        assert await store.get("a.b") == Entry(b"by hand", revision)
        await bucket.delete("a.b")
    deleted = await store.get("a.b")
    assert deleted == Entry(b"", revision + 1)
    assert await store.put_if("a.b", b"anew", deleted.revision) == revision + 2


async def test_the_server_tells_its_time(store):
    # Test and server share a machine, so also a clock.
    assert await store.server_time_us() == pytest.approx(time.time() * 1e6, abs=1e6)


async def test_a_missing_bucket_is_unavailable(server, store):
    async with await nats.connect(server.url) as connection:
        for bucket in (RATE_BUCKET, CONFIG_BUCKET):
            await connection.jetstream().delete_key_value(bucket)
    with pytest.raises(Unavailable, match="pq-rate"):
        await store.put_if("a.b", b"one", 0)
    with pytest.raises(Unavailable, match="pq-config"):
        await store.server_time_us()


async def test_a_connection_that_is_closed_is_unavailable(broker, store):
    await broker.close()
    for call in (store.get("a.b"), store.put_if("a.b", b"one", 0), store.server_time_us()):
        with pytest.raises(Unavailable):
            await call

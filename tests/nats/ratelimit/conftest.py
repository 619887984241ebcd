import contextlib
from collections.abc import AsyncIterator

import pytest
from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import NotFoundError

import nats
from nats_server import NatsServer
from protoqueue.protocol.buckets import RATE_BUCKET
from provisioning import ensure_buckets


class RateServer(NatsServer):
    """A nats-server and the part of the operator that looks after the buckets."""

    async def create_bucket(self) -> None:
        """`pq-rate` anew and empty. It lies in memory: a restart of the server takes it away."""
        async with await nats.connect(self.url) as connection:
            await ensure_buckets(connection)
            jetstream = connection.jetstream()
            with contextlib.suppress(NotFoundError):
                await jetstream.delete_key_value(RATE_BUCKET)
            await jetstream.create_key_value(KeyValueConfig(bucket=RATE_BUCKET, storage=StorageType.MEMORY, history=1))


@pytest.fixture(scope="package")
async def running_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RateServer]:
    server = RateServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def server(running_server: RateServer) -> RateServer:
    await running_server.create_bucket()
    return running_server

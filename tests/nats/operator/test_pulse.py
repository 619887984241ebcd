"""A server that lets the operator in and says nothing, against a real one with its requests lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from nats_server import NatsServer
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, Unanswered
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.nats import liveness
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials
from silent_nats import SilentNats
from waiting import eventually


@pytest_asyncio.fixture
async def way(server: NatsServer) -> AsyncIterator[SilentNats]:
    way = SilentNats(server.port)
    await way.start()
    yield way
    await way.stop()


@pytest_asyncio.fixture
async def connected(way: SilentNats) -> AsyncIterator[tuple[Connection, list[bool]]]:
    changes: list[bool] = []
    connection = Connection(Credentials((way.url,)), changes.append)
    connection.open()
    yield connection, changes
    await connection.close()


async def test_what_waits_ends_and_what_is_asked_then_fails_at_once_until_something_is_answered(
    way: SilentNats, connected: tuple[Connection, list[bool]]
) -> None:
    connection, changes = connected
    jetstream = JetStream(connection)
    await eventually(lambda: changes == [True])
    way.is_silent = True
    started = time.monotonic()
    found = await asyncio.gather(*(jetstream.stream(f"s{number}") for number in range(300)), return_exceptions=True)
    assert all(isinstance(each, BrokerUnavailable) for each in found)
    assert time.monotonic() - started < 8, "also those that had to wait for others to end"
    await eventually(lambda: changes == [True, False])
    lost, started = way.lost, time.monotonic()
    for _ in range(100):
        with pytest.raises(BrokerUnavailable, match="not responding"):
            await jetstream.stream("s")
    assert time.monotonic() - started < 1
    assert way.lost <= lost + 1, "it is asked in one place only"
    way.is_silent = False
    await eventually(lambda: changes == [True, False, True])
    assert await jetstream.stream("s") is None


async def test_a_server_counts_as_there_once_it_answers(
    way: SilentNats, connected: tuple[Connection, list[bool]]
) -> None:
    connection, changes = connected
    way.is_silent = True
    await eventually(lambda: way.lost > 1)
    assert not connection.is_up
    assert not changes
    way.is_silent = False
    await eventually(lambda: changes == [True])
    assert connection.is_up


async def test_one_request_that_nobody_answers_leaves_the_others_alone(
    connected: tuple[Connection, list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_SILENCE_S", 0.1)
    connection, changes = connected
    await eventually(lambda: changes == [True])
    inbox = "_INBOX.nobody.answers.here"
    await connection.subscribe(inbox, lambda _: None)
    listener = Connection(connection.credentials, lambda _: None)
    listener.open()
    await eventually(lambda: listener.is_up)
    with pytest.raises(Unanswered):
        await listener.request(inbox, b"", 2)
    assert listener.is_up
    await listener.close()


async def test_a_connection_that_is_closed_is_not_called_silent(
    connected: tuple[Connection, list[bool]], caplog: pytest.LogCaptureFixture
) -> None:
    connection, changes = connected
    await eventually(lambda: changes == [True])
    await connection.close()
    assert "silent" not in caplog.text

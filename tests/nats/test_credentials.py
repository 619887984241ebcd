"""Clients and workers reach NATS as the mounted files of a connection Secret say, also when those change."""

from pathlib import Path

import pytest
from nats.aio.client import RawCredentials

import protoqueue
from doors import DOORS, password, users
from nats_accounts import Accounts
from nats_server import NatsServer
from protoqueue.protocol.servers import shown_server, split_servers
from waiting import eventually


def mounted(directory: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> Path:
    """As a Secret volume shows them."""
    directory.mkdir()
    for name, content in values.items():
        (directory / name).write_text(content)
    monkeypatch.setenv("PROTOQUEUE_NATS_SECRET_DIR", str(directory))
    return directory


async def is_let_in(url: str, timeout_s: float = 5) -> None:
    async with await protoqueue.connect(url, timeout=timeout_s) as client:
        with pytest.raises(protoqueue.QueueNotFound):
            await client.queue("default/email")


@pytest.mark.parametrize("kind", DOORS)
async def test_every_kind_of_secret_opens_its_door(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = DOORS[kind](tmp_path / "server")
    await door.server.start()
    try:
        mounted(tmp_path / "secret", monkeypatch, door.secret)
        await is_let_in(door.secret["url"])
    finally:
        door.server.stop()


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("user", {"user": "jo", "password": "wr0ng"}, "NATS rejected the credentials"),
        ("nkey", {"nkey": "n0-key-at-all"}, "credentials are not valid"),
        ("creds", {"creds": "n0-creds-at-all"}, "credentials are not valid"),
    ],
)
async def test_wrong_credentials_are_told_without_being_quoted(
    kind: str, values: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = DOORS[kind](tmp_path / "server")
    await door.server.start()
    try:
        mounted(tmp_path / "secret", monkeypatch, values)
        with pytest.raises(protoqueue.ConfigurationError, match=words) as raised:
            await protoqueue.connect(door.server.url, timeout=2)
        assert not any(value in repr(raised.value) for value in values.values())
    finally:
        door.server.stop()


async def test_a_client_outlives_its_password_and_takes_up_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = password(), password()
    server = NatsServer(tmp_path / "nats", users(jo=first), login=f"jo:{first}@")
    await server.start()
    try:
        directory = mounted(tmp_path / "secret", monkeypatch, {"user": "jo", "password": first})
        async with await protoqueue.connect(server.url) as client:
            await server.reload(users(jo=second))
            with pytest.raises(protoqueue.Unavailable):
                await client._broker.stream_state("any", 1)
            (directory / "password").write_text(second)

            async def answers() -> bool:
                return await client._broker.stream_state("any", 5) is None

            await eventually(answers)
    finally:
        server.stop()


async def test_a_client_outlives_a_credentials_file_that_runs_out_and_takes_up_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts("ACME")
    access = {"user_credentials": RawCredentials(accounts.creds("ACME"))}
    server = NatsServer(tmp_path / "nats", accounts.settings, access=access)
    await server.start()
    try:
        directory = mounted(tmp_path / "secret", monkeypatch, {"creds": accounts.creds("ACME", lasts_s=3)})
        async with await protoqueue.connect(server.url) as client:
            await eventually(lambda: not client._broker.connected)
            (directory / "creds").write_text("half a fi")
            await eventually(lambda: "UnreadableCredentials" in caplog.text)
            (directory / "creds").write_text(accounts.creds("ACME"))

            async def answers() -> bool:
                return await client._broker.stream_state("any", 5) is None

            await eventually(answers)
    finally:
        server.stop()


async def test_a_credentials_file_that_is_missing_is_named_though_the_server_asks_for_none(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    creds = str(tmp_path / "app.creds")
    with pytest.raises(protoqueue.ConfigurationError, match=creds):
        await protoqueue.connect(server.url, creds=creds)
    monkeypatch.setenv("PROTOQUEUE_NATS_CREDS", creds)
    with pytest.raises(protoqueue.ConfigurationError, match=creds):
        await protoqueue.connect("nats://127.0.0.1:1")


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_a_certificate_authority_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    ca = tmp_path / "ca.crt"
    if text is not None:
        ca.write_text(text)
    with pytest.raises(protoqueue.ConfigurationError, match=str(ca)):
        await protoqueue.connect("nats://127.0.0.1:1", ca=str(ca))


@pytest.mark.parametrize("url", ["nats://jo:hid/den@a:4222", "nats://jo:hid#den@a", "nats://a:4222, nats://", ""])
def test_an_address_that_is_none_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="not a NATS server address") as raised:
        split_servers(url)
    assert "hid" not in str(raised.value)


def test_what_is_shown_of_an_address_is_where_and_not_who() -> None:
    servers = split_servers(" nats://token@host:4222, tls://jo:pw@[::1]:4222,localhost,under_score:1")
    assert [shown_server(server) for server in servers] == [
        "nats://host:4222",
        "tls://[::1]:4222",
        "localhost",
        "under_score:1",
    ]

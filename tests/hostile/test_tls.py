"""Where a connection is to be encrypted, nobody on the way gets anything of it by leaving TLS out."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trustme

import protoqueue
from doors import DOORS, password
from hostile.peers import Peer, http, info, without_tls
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import parse_credentials
from waiting import eventually

PASSWORD = password()
LOGINS: dict[str, dict[str, str]] = {
    "user": {"user": "jo", "password": PASSWORD},
    "token": {"token": PASSWORD},
    "the URL": {"login": f"jo:{PASSWORD}@"},
}
WAYS: dict[str, Callable[[], dict[str, str]]] = {
    "scheme tls": lambda: {"scheme": "tls"},
    "scheme nats and an authority": lambda: {"scheme": "nats", "ca.crt": authority()},
    "scheme wss": lambda: {"scheme": "wss"},
    "scheme ws and an authority": lambda: {"scheme": "ws", "ca.crt": authority()},
}


def authority() -> str:
    return trustme.CA().cert_pem.bytes().decode()


def secret(way: Mapping[str, str], login: Mapping[str, str], port: int) -> dict[str, str]:
    values = {**way, **login}
    url = f"{values.pop('scheme')}://{values.pop('login', '')}127.0.0.1:{port}"
    return {"url": url, **values}


def mounted(directory: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process to which a Secret with these keys is mounted."""
    directory.mkdir()
    for key, text in values.items():
        (directory / key).write_text(text)
    return {"PROTOQUEUE_NATS_SECRET_DIR": str(directory), "PROTOQUEUE_NATS_URL": values["url"]}


def nothing_is_told(peer: Peer) -> None:
    assert b"CONNECT" not in peer.heard
    assert PASSWORD.encode() not in peer.heard
    assert b"Authorization" not in peer.heard


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_listener_that_does_not_ask_for_tls_gets_nothing_from_a_client(
    way: str, login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(without_tls) as peer:
        values = secret(WAYS[way](), LOGINS[login], peer.port)
        for name, text in mounted(tmp_path / "secret", values).items():
            monkeypatch.setenv(name, text)
        with pytest.raises((protoqueue.ConfigurationError, protoqueue.Unavailable)) as raised:
            await protoqueue.connect(timeout=1)
        nothing_is_told(peer)
    assert PASSWORD not in str(raised.value)
    if values["url"].startswith(("tls", "nats")):
        assert "does not offer TLS" in str(raised.value)


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_listener_that_does_not_ask_for_tls_gets_nothing_from_the_operator(
    way: str, login: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Peer(without_tls) as peer:
        credentials = parse_credentials(secret(WAYS[way](), LOGINS[login], peer.port), "it")
        connection = Connection(credentials, lambda _: None)
        connection.open()
        await eventually(lambda: "nats error" in caplog.text)
        await connection.close()
        nothing_is_told(peer)
    assert PASSWORD not in caplog.text


async def test_a_listener_that_does_not_ask_for_tls_gets_nothing_from_the_command_line(tmp_path: Path) -> None:
    async with Peer(without_tls) as peer:
        environment = mounted(tmp_path / "secret", secret({"scheme": "tls"}, LOGINS["user"], peer.port))
        program = str(Path(sys.executable).with_name("protoqueue"))
        process = await asyncio.create_subprocess_exec(
            program, "stats", "default/email",
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode
        assert "does not offer TLS" in " ".join(output.decode().split())
        assert PASSWORD not in output.decode()
        nothing_is_told(peer)


async def test_one_address_that_says_tls_has_all_of_them_encrypted() -> None:
    async with Peer(without_tls) as peer, Peer(without_tls) as other:
        url = f"tls://jo:{PASSWORD}@127.0.0.1:{other.port},nats://jo:{PASSWORD}@127.0.0.1:{peer.port}"
        with pytest.raises(protoqueue.ConfigurationError, match="does not offer TLS"):
            await protoqueue.connect(url, timeout=2)
        assert peer.connections
        nothing_is_told(peer)
        nothing_is_told(other)


async def test_who_is_on_the_way_cannot_name_other_servers_before_tls_is_up() -> None:
    """Theirs could have certificates that are as good as any."""
    async with Peer(without_tls) as elsewhere:

        async def names_another(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(info(tls_required=True, connect_urls=[f"127.0.0.1:{elsewhere.port}"]))

        async with Peer(names_another) as peer:
            url = f"tls://jo:{PASSWORD}@127.0.0.1:{peer.port}"
            connecting = asyncio.create_task(protoqueue.connect(url, timeout=300))
            # The servers that a client knows of have their turns one after the other.
            await eventually(lambda: peer.connections > 3 or elsewhere.connections)
            assert not elsewhere.connections
            connecting.cancel()
            await asyncio.wait([connecting])


async def test_an_http_server_that_redirects_is_not_followed_and_is_not_told_who_one_is() -> None:
    async with Peer(http(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as elsewhere:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{elsewhere.port}/meta-data\r\n\r\n"
        async with Peer(http(redirect.encode())) as peer:
            with pytest.raises(protoqueue.Unavailable):
                await protoqueue.connect(f"ws://jo:{PASSWORD}@127.0.0.1:{peer.port}", timeout=2)
            assert peer.connections
            assert not elsewhere.connections
            nothing_is_told(peer)


@pytest.mark.parametrize("kind", ["tls", "mutual_tls"])
async def test_a_server_that_offers_tls_is_spoken_to_by_either_scheme(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = DOORS[kind](tmp_path / "server")
    await door.server.start()
    try:
        for number, scheme in enumerate(("nats", "tls")):
            values = door.secret | {"url": door.server.url.replace("nats", scheme)}
            for name, text in mounted(tmp_path / str(number), values).items():
                monkeypatch.setenv(name, text)
            async with await protoqueue.connect() as client:
                with pytest.raises(protoqueue.QueueNotFound):
                    await client.queue("default/email")
    finally:
        door.server.stop()

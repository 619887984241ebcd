"""Clients and workers reach NATS as the mounted files of a connection Secret say."""

import ssl
from pathlib import Path

import pytest
import trustme

import protoqueue
from nats_server import NatsServer

AUTHORIZATION = "authorization { users: [{user: jo, password: s3same}] }"


async def test_user_and_password_are_read_from_the_secrets_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = NatsServer(tmp_path / "nats", AUTHORIZATION, login="jo:s3same@")
    await server.start()
    try:
        monkeypatch.setenv("PROTOQUEUE_NATS_SECRET_DIR", str(secret(tmp_path, user="jo", password="s3same\n")))
        async with await protoqueue.connect(server.url) as connection:
            with pytest.raises(protoqueue.QueueNotFound):
                await connection.queue("default/email")
        (tmp_path / "secret" / "password").write_text("wrong")
        with pytest.raises(protoqueue.ConfigurationError, match="credentials"):
            await protoqueue.connect(server.url, timeout=2)
    finally:
        server.stop()


async def test_mutual_tls_is_spoken_with_the_secrets_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = ca.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    pem = tmp_path / "server.pem"
    tls = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client = ca.issue_cert("worker.example")
    client.configure_cert(tls)
    server = NatsServer(
        tmp_path / "nats",
        f'tls {{ cert_file: "{pem}", key_file: "{pem}", ca_file: "{tmp_path / "ca.pem"}", verify: true }}',
        tls=tls,
    )
    await server.start()
    try:
        client_pem = client.private_key_and_cert_chain_pem.bytes().decode()
        ca_pem = ca.cert_pem.bytes().decode()
        directory = secret(tmp_path, **{"ca.crt": ca_pem, "tls.crt": client_pem, "tls.key": client_pem})
        monkeypatch.setenv("PROTOQUEUE_NATS_SECRET_DIR", str(directory))
        async with await protoqueue.connect(server.url) as connection:
            with pytest.raises(protoqueue.QueueNotFound):
                await connection.queue("default/email")
        (directory / "tls.crt").unlink()
        with pytest.raises(protoqueue.ProtoQueueError):
            await protoqueue.connect(server.url, timeout=2)
    finally:
        server.stop()


def secret(tmp_path: Path, **files: str) -> Path:
    directory = tmp_path / "secret"
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_text(content)
    return directory

"""The nats-server of a devcluster."""

import json
from pathlib import Path

import pytest

import nats
from ports import free_port
from protoqueue_devcluster.nats import nats_config, running_nats
from protoqueue_devcluster.processes import StartFailed


async def test_the_server_has_jetstream_as_soon_as_it_is_given_out_and_keeps_its_data(tmp_path: Path) -> None:
    async with running_nats(tmp_path) as server:
        connection = await nats.connect(server.url)
        await connection.jetstream().add_stream(name="S", subjects=["s"])
        await connection.close()
    async with running_nats(tmp_path, port=server.port, sync_interval="always") as again:
        assert again.url == server.url
        connection = await nats.connect(again.url)
        assert (await connection.jetstream().stream_info("S")).config.name == "S"
        await connection.close()


async def test_a_taken_port_is_refused_at_once(tmp_path: Path) -> None:
    async with running_nats(tmp_path / "one") as server:
        with pytest.raises(StartFailed, match=f"port {server.port} is not to be had"):
            async with running_nats(tmp_path / "two", port=server.port):
                raise AssertionError("two servers on one port")


def test_the_configuration_keeps_to_loopback_and_quotes_any_path(tmp_path: Path) -> None:
    port = free_port()
    config = json.loads(nats_config(port, tmp_path / 'a "quoted" path', "2s"))
    assert config == {
        "host": "127.0.0.1",
        "port": port,
        "jetstream": {"store_dir": str(tmp_path / 'a "quoted" path'), "sync_interval": "2s"},
    }

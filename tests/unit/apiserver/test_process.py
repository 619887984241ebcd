"""The API server as a process: starting, what it leaves on disk, stopping."""

import json
import stat
from pathlib import Path

import psutil
import pytest

from conformance.kubeapi import connected
from protoqueue_devcluster.components import running_apiserver
from protoqueue_devcluster.processes import StartFailed


async def test_it_serves_while_the_context_lasts(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        async with connected(server.kubeconfig) as api:
            assert (await api.get("/api/v1/namespaces/default")).status == 200
        process = psutil.Process(server.pid)
        assert stat.S_IMODE(server.kubeconfig.stat().st_mode) == 0o600
        assert server.url.startswith("https://127.0.0.1:")
    assert not process.is_running()


async def test_it_stops_although_clients_still_watch(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        process = psutil.Process(server.pid)
        async with connected(server.kubeconfig) as api:
            async with api.watch("/api/v1/namespaces") as watch:
                assert (await watch.next())[0] == "ADDED"
                process.terminate()
                await watch.rest()


async def test_a_taken_port_is_reported_with_the_servers_words(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path / "first") as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(StartFailed, match="address already in use"):
            async with running_apiserver(tmp_path / "second", port):
                pass


async def test_requests_are_logged_as_what_they_need_permission_for(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with running_apiserver(tmp_path, request_log=log) as server:
        async with connected(server.kubeconfig) as api:
            await api.get("/api/v1/namespaces/default/pods")
            await api.patch("/apis/apps/v1/namespaces/default/deployments/d/scale", {})
            await api.get("/healthz")
    everyone = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [each for each in everyone if each["userAgent"] == "conformance/1.0"]
    assert [(each["verb"], each["group"], each["resource"], each["subresource"]) for each in lines] == [
        ("list", "", "pods", ""),
        ("patch", "apps", "deployments", "scale"),
    ]
    assert [each["status"] for each in lines] == [200, 404]

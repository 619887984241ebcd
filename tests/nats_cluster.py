"""Three nats-servers that are one JetStream cluster, on the loopback."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import nats
from nats_server import NatsServer
from ports import free_port
from waiting import eventually


class NatsCluster:
    """`url` names all servers; any of them may be killed and started again."""

    def __init__(self, directory: Path, size: int = 3) -> None:
        ports = [free_port() for _ in range(size)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = {
            f"n{number}": NatsServer(
                directory / f"n{number}",
                f'server_name: n{number}\ncluster {{ name: three, listen: "127.0.0.1:{port}", routes: [{routes}] }}',
            )
            for number, port in enumerate(ports)
        }
        self.url = ",".join(server.url for server in self.servers.values())

    async def start(self) -> None:
        """Return once there is a leader and every server is up to date."""
        await asyncio.gather(*(server.start() for server in self.servers.values()))
        await self.is_whole()

    async def is_whole(self) -> None:
        """Wait until every server follows the leader of the cluster closely."""

        async def whole() -> bool:
            seen = {name: await self._meta(server) for name, server in self.servers.items()}
            followed = [meta["replicas"] for name, meta in seen.items() if meta.get("leader") == name]
            return (
                len(followed) == 1
                and all(each["current"] for each in followed[0])
                and len(followed[0]) == len(seen) - 1
            )

        await eventually(whole)

    async def leader(self, stream: str | None = None) -> str:
        """The server that leads a stream, or without one the cluster itself."""
        if stream is None:
            name = ""

            async def known() -> bool:
                nonlocal name
                for server in self.servers.values():
                    with contextlib.suppress(OSError):
                        name = (await self._meta(server)).get("leader", "") or name
                return bool(name)

            await eventually(known)
            return name
        info = await self.api(f"STREAM.INFO.{stream}")
        leader: str = info["cluster"]["leader"]
        return leader

    async def api(self, subject: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """A plain request to JetStream, by a connection of its own."""
        connection = await nats.connect(self.url.split(","), connect_timeout=2)
        try:
            answer = await connection.request(f"$JS.API.{subject}", json.dumps(request or {}).encode(), timeout=60)
            body: dict[str, Any] = json.loads(answer.data)
            return body
        finally:
            await connection.close()

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()

    async def _meta(self, server: NatsServer) -> dict[str, Any]:
        meta: dict[str, Any] = (await server.monitored("/jsz")).get("meta_cluster", {})
        return meta

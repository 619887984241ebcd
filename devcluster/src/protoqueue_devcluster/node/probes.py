"""Startup, readiness and liveness probes."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.node.environment import Invocation
from protoqueue_devcluster.node.volumes import MountedPaths
from protoqueue_devcluster.processes import Command, accepts_connections, spawn


@dataclass(frozen=True)
class Probe:
    """When to ask, and how many equal answers in a row count. Times in seconds."""

    initial_delay_s: float
    period_s: float
    timeout_s: float
    success_threshold: int
    failure_threshold: int
    handler: Mapping[str, Any]


@dataclass(frozen=True)
class Streak:
    """Equal answers in a row."""

    healthy: bool
    length: int = 0

    def after(self, healthy: bool) -> "Streak":
        return Streak(healthy, self.length + 1 if healthy == self.healthy else 1)

    def verdict(self, probe: Probe) -> bool | None:
        """True or False once the threshold is reached, else None: no change yet."""
        needed = probe.success_threshold if self.healthy else probe.failure_threshold
        return self.healthy if self.length >= needed else None


def parse_probe(entry: Mapping[str, Any]) -> Probe:
    return Probe(
        initial_delay_s=entry.get("initialDelaySeconds") or 0,
        period_s=entry.get("periodSeconds") or 10,
        timeout_s=entry.get("timeoutSeconds") or 1,
        success_threshold=entry.get("successThreshold") or 1,
        failure_threshold=entry.get("failureThreshold") or 3,
        handler=entry,
    )


@dataclass(frozen=True)
class Prober:
    """Asks one running container."""

    invocation: Invocation
    paths: MountedPaths
    ports: Mapping[str, int]
    working_dir: Path
    lifeline: Lifeline

    async def follow(self, probe: Probe, on_verdict: Callable[[bool], Awaitable[None]]) -> None:
        """Ask for ever; `on_verdict` hears whenever a threshold is reached."""
        await asyncio.sleep(probe.initial_delay_s)
        streak = Streak(healthy=True)
        while True:
            streak = streak.after(await self.ask(probe))
            if (verdict := streak.verdict(probe)) is not None:
                await on_verdict(verdict)
            await asyncio.sleep(probe.period_s)

    async def ask(self, probe: Probe) -> bool:
        """One answer; whatever goes wrong is a failure."""
        handler = probe.handler
        try:
            async with asyncio.timeout(probe.timeout_s):
                if action := handler.get("exec"):
                    return await self._execute(action.get("command") or [])
                if action := handler.get("httpGet"):
                    return await self._get(action)
                if action := handler.get("tcpSocket"):
                    return await accepts_connections(action.get("host") or "127.0.0.1", self._port(action["port"]))
        except (OSError, TimeoutError, aiohttp.ClientError, KeyError):
            return False
        return True  # gRPC probes are not supported: a container is not killed for our lack of them

    async def _execute(self, command: list[str]) -> bool:
        arguments = [self.paths.rewrite(text) for text in command]
        run = Command("probe", arguments, self.invocation.env, Path(os.devnull), self.working_dir)
        process = await spawn(run, self.lifeline)
        try:
            return await process.wait() == 0
        finally:
            process.kill()

    async def _get(self, action: Mapping[str, Any]) -> bool:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # as the kubelet: a probe proves life, not identity
        scheme = action.get("scheme", "HTTP").lower()
        host = action.get("host") or "127.0.0.1"
        path = "/" + action.get("path", "/").lstrip("/")
        url = f"{scheme}://{host}:{self._port(action['port'])}{path}"
        headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=tls) as response:
            return 200 <= response.status < 400

    def _port(self, port: int | str) -> int:
        """A number, or the name of a container port; raises KeyError for an unknown name."""
        return int(port) if str(port).isdigit() else self.ports[str(port)]

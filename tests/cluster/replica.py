"""An operator whose metrics can be read."""

from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from cluster.operator_process import OperatorProcess
from nats_server import free_port


class Replica(OperatorProcess):
    """One of several, with its metrics at hand."""

    def __init__(self, kubeconfig: Path, nats_url: str, directory: Path, *arguments: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        super().__init__(kubeconfig, nats_url, directory, "--liveness", f"{self.url}/healthz", *arguments)

    async def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and label values; empty while it does not answer."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as response:
                text = await response.text()
        except aiohttp.ClientError:
            return {}
        families = text_string_to_metric_families(text)
        return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}

    async def leads(self) -> bool:
        return (await self.metrics()).get(("protoqueue_operator_leader", ())) == 1

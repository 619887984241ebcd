"""An operator whose metrics can be read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from cluster.operator_process import OperatorProcess
from ports import free_port


class Replica(OperatorProcess):
    """One of several, with its metrics at hand."""

    def __init__(
        self,
        kubeconfig: Path,
        nats_url: str,
        directory: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        liveness = ("--liveness", f"{self.url}/healthz")
        super().__init__(kubeconfig, nats_url, directory, *liveness, *arguments, variables=variables, before=before)

    async def metrics_text(self) -> str:
        """Empty while it does not answer."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as response:
                return await response.text()
        except aiohttp.ClientError:
            return ""

    async def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and label values; empty while it does not answer."""
        families = text_string_to_metric_families(await self.metrics_text())
        return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}

    async def leads(self) -> bool:
        return (await self.metrics()).get(("protoqueue_operator_leader", ())) == 1

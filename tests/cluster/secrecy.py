"""Whether what is secret is to be read anywhere but in a Secret."""

from pathlib import Path
from typing import Any

from cluster.lab import EVENTS, Lab
from cluster.replica import Replica
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, DEPLOYMENTS, PODS, QUEUES, REPLICA_SETS


class Secrecy:
    """Looks at everything that the operator and the workers of a namespace let be seen."""

    def __init__(self, lab: Lab, operator: Replica) -> None:
        self._lab = lab
        self._operator = operator
        self._worker_log = lab.directory / "worker.log"

    def worker_template(self, text: str) -> dict[str, Any]:
        """A worker that says all it can say."""
        template = self._lab.worker_template(text)
        container = template["spec"]["containers"][0]
        program, *arguments = container["command"]
        line = f"exec {program} {' '.join(arguments)} --log-level debug >> {self._worker_log} 2>&1"
        container["command"] = ["sh", "-c", line]
        return template

    async def holds(self, *hidden: str) -> None:
        """Raises AssertionError that says where one of these is to be read."""
        kinds = (QUEUES, CONSUMER_GROUPS, DEPLOYMENTS, REPLICA_SETS, PODS, EVENTS)
        seen = {kind.plural: str(await self._lab.kube.list(kind, self._lab.namespace)) for kind in kinds}
        seen["metrics"] = await self._operator.metrics_text()
        seen |= {path.name: _text(path) for path in (self._operator.log, self._worker_log)}
        assert seen["metrics"]
        assert seen[self._operator.log.name]
        for place, text in seen.items():
            for each in hidden:
                assert each not in text, f"{place}: {text[max(0, text.find(each) - 300) :][:300]}"


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""

"""The real kubectl."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KUBECTL = Path(sys.executable).parent / "kubectl"


@dataclass(frozen=True)
class Kubectl:
    """The real kubectl, in one namespace and with a cache of its own."""

    kubeconfig: Path
    namespace: str
    home: Path

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.home),
            "KUBECACHEDIR": str(self.home),
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(KUBECTL), "-n", self.namespace, *arguments, env=self._environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def fails(self, *arguments: str, given: Any = None) -> str:
        """Run to failure; returns what it says on stderr."""
        code, _, errors = await self._run(*arguments, given=given)
        assert code != 0
        return errors

    async def __call__(self, *arguments: str, given: Any = None) -> str:
        """Run to success with a manifest on stdin; returns stdout."""
        code, output, errors = await self._run(*arguments, given=given)
        assert code == 0, errors
        return output

    async def _run(self, *arguments: str, given: Any) -> tuple[int | None, str, str]:
        process = await self.start(*arguments)
        text = json.dumps(given).encode() if given is not None else None
        output, errors = await asyncio.wait_for(process.communicate(text), timeout=60)
        return process.returncode, output.decode(), errors.decode()

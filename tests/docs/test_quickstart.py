"""The quick start for this machine, typed as it stands there, on a cluster of its own."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docs.fences import ROOT, fences
from waiting import eventually

PAGE = ROOT / "docs/quickstart/local.md"
NOT_TYPED = ("make demo", "source .venv", "mkdir", "cd ")
"""The demo has a test of its own; where the tools and the folder are, the test says."""


@dataclass
class Terminal:
    """A shell in a folder: `source` is understood, everything else is run."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def type(self, line: str) -> str:
        """What the command printed; an AssertionError when it failed."""
        words = shlex.split(line)
        if words[0] == "source":
            lines = (self.folder / words[1]).read_text().splitlines()
            pairs = (shlex.split(line.removeprefix("export "))[0].partition("=") for line in lines)
            self.environment |= {name: value for name, _, value in pairs}
            return ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.environment}
        done = subprocess.run(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    for fence in fences(PAGE):
        if fence.title:
            (tmp_path / fence.title).write_text(fence.text)
    opened = Terminal(tmp_path)
    yield opened
    opened.type("protoqueue down --purge")


@pytest.mark.timeout(180)
async def test_the_quick_start_does_what_it_says(terminal: Terminal) -> None:
    lines = [line[2:] for fence in fences(PAGE, "console") for line in fence.text.splitlines()]
    typed = [line for line in lines if not line.startswith(NOT_TYPED)]
    stop = typed.index("protoqueue down")
    for line in typed[:stop]:
        terminal.type(line)

    def all_is_done() -> bool:
        stats = json.loads(terminal.type("protoqueue stats default/email -o json"))
        return [stats[state] for state in ("ready", "in_flight", "scheduled", "dead")] == [0, 0, 0, 1]

    await eventually(all_is_done, timeout_s=30, interval_s=0.5)
    assert "Undecodable" in terminal.type("protoqueue dead list default/email")
    logged = terminal.type("kubectl logs deployment/mailers")
    for line in ("'Hello' to ada@example.org, attempt 1", "'' to ada@example.org", "'' to bob@example.org"):
        assert line in logged
    for line in typed[stop:]:
        terminal.type(line)
    assert not (terminal.folder / ".protoqueue/env").exists()

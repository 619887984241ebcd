"""The quick start for this machine and the first page, typed as they stand there, each on a cluster of its own."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest

from docs.fences import ROOT, fences
from waiting import eventually

PAGE = ROOT / "docs/quickstart/local.md"
FIRST_PAGE = ROOT / "README.md"
NOT_TYPED = ("make ", "source .venv", ". .venv", "mkdir", "cd ")
"""The demo has a test of its own; where the tools and the folder are, the test says."""


@dataclass
class Terminal:
    """A shell in a folder: `source` and `.` are understood, everything else is run."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def type(self, line: str) -> str:
        """What the command printed; an AssertionError when it failed."""
        words = shlex.split(line, comments=True)
        if words[0] in ("source", "."):
            lines = (self.folder / words[1]).read_text().splitlines()
            pairs = (shlex.split(line.removeprefix("export "))[0].partition("=") for line in lines)
            self.environment |= {name: value for name, _, value in pairs}
            return ""
        words = [Template(word).safe_substitute(self.environment) for word in words]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.environment}
        done = subprocess.run(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        return done.stdout


def typed_on(page: Path) -> list[str]:
    lines = [line[2:] for fence in fences(page, "console") for line in fence.text.splitlines()]
    return [line for line in lines if not line.startswith(NOT_TYPED)]


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """In a folder with the files of the page that is the parameter."""
    for fence in fences(request.param):
        if fence.title:
            (tmp_path / fence.title).write_text(fence.text)
    opened = Terminal(tmp_path)
    yield opened
    opened.type("protoqueue down --purge")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("terminal", [FIRST_PAGE], indirect=True, ids=lambda page: page.name)
async def test_the_first_page_does_what_it_says(terminal: Terminal) -> None:
    typed = typed_on(FIRST_PAGE)
    look = typed.index("kubectl logs deployment/mailers")
    for line in typed[:look]:
        terminal.type(line)
    await eventually(lambda: "sending to a@example.com attempt 1" in terminal.type(typed[look]))
    for line in typed[look + 1 :]:
        terminal.type(line)
    assert not (terminal.folder / ".protoqueue/env").exists()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("terminal", [PAGE], indirect=True, ids=lambda page: page.name)
async def test_the_quick_start_does_what_it_says(terminal: Terminal) -> None:
    typed = typed_on(PAGE)
    stop = typed.index("protoqueue down")
    for line in typed[:stop]:
        if line.startswith("kubectl logs"):  # on a busy machine a pod may take longer than kubectl waits for it
            await eventually(lambda line=line: terminal.type(line))
        else:
            terminal.type(line)

    def all_is_done() -> bool:
        stats = json.loads(terminal.type("protoqueue stats default/email -o json"))
        return [stats[state] for state in ("waiting", "in_flight", "scheduled", "dead")] == [0, 0, 0, 1]

    await eventually(all_is_done, interval_s=0.5)
    assert "Undecodable" in terminal.type("protoqueue dead list default/email")
    logged = terminal.type("kubectl logs deployment/mailers")
    for line in ("'Hello' to ada@example.org, attempt 1", "'' to ada@example.org", "'' to bob@example.org"):
        assert line in logged
    for line in typed[stop:]:
        terminal.type(line)
    assert not (terminal.folder / ".protoqueue/env").exists()

"""Commands on the pages exist, with the subcommands and options they are given."""

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sitegen.commands import commands

from docs.fences import ROOT, Fence, all_fences, fences

SHELL = {".", "cd", "curl", "echo", "export", "mkdir", "python", "source"}
ELSEWHERE = {"docker", "kind"}
"""Tools that a test machine need not have: only that they are among the known ones is checked."""

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Command:
    fence: Fence
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.fence.place} {shlex.join(self.words)}"


def written(fence: Fence) -> Iterator[Command]:
    """The commands of a block: lines after a prompt, or every line where there are no prompts."""
    text = fence.text.replace("\\\n", " ")
    prompted = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    for line in text.splitlines() if fence.language == "sh" else prompted:
        words = shlex.split(line, comments=True)
        words = words[: next((i for i, word in enumerate(words) if word.startswith(("|", ">"))), None)]
        if words:
            yield Command(fence, tuple(words))


COMMANDS = [command for fence in all_fences("console", "sh", "bash", "shell") for command in written(fence)]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_exists(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for fence in fences(command.fence.page):
        if fence.title:
            (tmp_path / fence.title).write_text(fence.text)
    tool, *words = command.words
    match tool:
        case "make":
            assert set(words) - {word for word in words if "=" in word} <= targets()
        case "protoqueue":
            parses(words)
        case "kubectl" | "helm":
            is_known(tool, words)
        case _:
            assert tool in SHELL | ELSEWHERE, f"what is {tool}?"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def parses(words: list[str]) -> None:
    """As the command line itself would read it; files named must be on the page."""
    while words and words[0].startswith("-"):
        words = words[2:]  # --nats, --creds and --ca of every command
    name = next((name for name in commands() if name.split()[1:] == words[: len(name.split()) - 1]), None)
    assert name, f"protoqueue has no command {words}"
    try:
        commands()[name].make_context(name, words[len(name.split()) - 1 :])
    except Exception as error:  # typer's own kind, or click's, by version
        pytest.fail(f"{shlex.join(words)}: {error}")


def is_known(tool: str, words: list[str]) -> None:
    if not (BIN / tool).exists():
        pytest.skip(f"{tool} is not installed: `make {tool}`")
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    unknown = {option for option in options if option not in help_of(tool, words[0])}
    assert not unknown, f"{tool} {words[0]} has no {unknown}"


@functools.cache
def help_of(tool: str, verb: str) -> str:
    """The help of a verb and of the options all verbs have."""
    own = output(tool, verb, "--help")
    assert own.returncode == 0, f"{tool} has no {verb}"
    return own.stdout + (output(tool, "options").stdout if tool == "kubectl" else "")


def output(*words: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BIN / words[0], *words[1:]], capture_output=True, text=True, timeout=280)


def test_an_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="--prioritaet"):
        parses(["enqueue", "default/email", "{}", "--prioritaet", "3"])

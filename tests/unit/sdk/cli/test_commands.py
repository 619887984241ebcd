"""What holds of every command of the command line."""

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from typer.main import get_command

from protoqueue.cli.app import COMMANDS, build_app

_NO_DATA = {"worker", "logs"}
"""These run, and print what others write."""

APP: Any = get_command(build_app())


def commands(group: Any = APP, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield (*words, name), command
            if hasattr(command, "commands"):
                yield from commands(command, (*words, name))


ALL = [pytest.param(words, command, id=" ".join(words)) for words, command in commands()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_loaded_alone_is_what_it_is_among_the_others(command: str) -> None:
    alone: Any = get_command(build_app(command))
    for flag in ("-h", "--unknown"):
        results = [CliRunner().invoke(app, [command, flag], prog_name="protoqueue") for app in (APP, alone)]
        assert results[0].output == results[1].output
        assert results[0].exit_code == results[1].exit_code


def test_every_command_of_the_sdk_is_known_before_its_module_is_loaded() -> None:
    assert {*APP.commands} == {*COMMANDS, "up", "down"}


@pytest.mark.parametrize(("words", "command"), ALL)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself(words: tuple[str, ...], command: Any, flag: str) -> None:
    assert command.help, "says what it does"
    result = CliRunner().invoke(APP, [*words, flag])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(("words", "command"), ALL)
def test_every_command_that_tells_something_tells_it_as_data_too(words: tuple[str, ...], command: Any) -> None:
    if hasattr(command, "commands") or words[0] in _NO_DATA:
        return
    refused = CliRunner().invoke(APP, [*words, "-o", "xml"])
    assert refused.exit_code == 2
    assert "'table', 'json', 'yaml'" in " ".join(refused.output.split()), refused.output

"""What `--server` means for each command."""

import pytest
from click.testing import CliRunner
from typer.main import get_command

from protoqueue.cli import connection
from protoqueue.cli.app import build_app

APP = get_command(build_app())


@pytest.fixture(autouse=True)
def unselected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process runs one command: what that has selected stays."""
    monkeypatch.setattr(connection, "_server", None)
    monkeypatch.delenv("PROTOQUEUE_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("peek", "default/email"), "--nats"),
        (("worker", "tasks:worker"), "protoqueue.http"),
        (("logs", "default/email"), "kubectl"),
        (("keys", "list"), "kubectl"),
        (("up",), "a cluster of its own"),
        (("dead", "forward", "default/email", "--all"), "--nats"),
        (("task", "show", "01jx"), "--nats"),
        (("pause", "default/email", "--group", "mailers"), "kubectl"),
    ],
)
def test_what_a_gateway_cannot_do_says_what_to_use(words: tuple[str, ...], instead: str) -> None:
    result = CliRunner().invoke(APP, ["--server", "http://127.0.0.1:1", *words])
    assert result.exit_code == 1
    assert "--server" in result.output
    assert instead in result.output


@pytest.mark.parametrize("before", [True, False])
def test_it_stands_before_or_after_the_command(before: bool) -> None:
    option, command = ["--server", "http://127.0.0.1:1"], ["stats", "default/email"]
    result = CliRunner().invoke(APP, [*option, *command] if before else [*command, *option])
    assert result.exit_code == 1
    assert "PROTOQUEUE_API_KEY is not set" in result.output, "it is the gateway that is asked"

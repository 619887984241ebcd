"""Options of the connection, which stand before a command's name or after it: NATS', or a gateway's."""

import inspect
import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from protoqueue.cli.failure import fail
from protoqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from protoqueue.cli.backend import TargetClient

_PANEL = "Connection"

OVER_HTTP = frozenset(("stats", "top", "why", "enqueue", "cancel", "purge", "pause", "resume", "dead"))
"""Commands that a gateway can serve."""

_NOT_OVER_HTTP = {
    "dead forward": "connect to NATS with --nats",
    "keys": "they are entries of Secrets: run it where kubectl reaches the gateway's cluster",
    "redrive": "use `protoqueue dead redrive`, for which the gateway creates one",
    "logs": "run it where kubectl reaches the cluster of the workers",
    "up": "it starts a cluster of its own",
    "down": "it stops a cluster of this machine",
    "worker": "a worker takes its tasks from NATS, use --nats; programs without NATS consume with protoqueue.http",
}
"""What to do instead, by command."""

_server: str | None = None


def use_connection(
    nats: Annotated[
        str | None,
        typer.Option(
            "--nats", help="NATS server URL; default: PROTOQUEUE_NATS_URL or NATS_URL.", rich_help_panel=_PANEL
        ),
    ] = None,
    creds: Annotated[
        str | None,
        typer.Option("--creds", help="Credentials file; default: PROTOQUEUE_NATS_CREDS.", rich_help_panel=_PANEL),
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option("--ca", help="CA certificate of NATS; default: PROTOQUEUE_NATS_CA.", rich_help_panel=_PANEL),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", help="URL of a gateway to use in place of NATS.", rich_help_panel=_PANEL),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="Its API key; default: PROTOQUEUE_API_KEY.", rich_help_panel=_PANEL),
    ] = None,
) -> None:
    """Make options of the command line what `connect` and `Worker` read, and `open_client`."""
    global _server
    given = {
        "PROTOQUEUE_NATS_URL": nats,
        "PROTOQUEUE_NATS_CREDS": creds,
        "PROTOQUEUE_NATS_CA": ca,
        "PROTOQUEUE_API_KEY": key,
    }
    os.environ.update({name: value for name, value in given.items() if value})
    _server = server or _server


def selected_server() -> str | None:
    """The gateway that the command line names; None: NATS."""
    return _server


def open_client() -> "AbstractAsyncContextManager[TargetClient]":
    """A client of the gateway that the command line names, else of NATS. Raises ConfigurationError."""
    if _server is None:
        from protoqueue.connection import connect  # slow to import, and a worker connects on its own

        return cast("AbstractAsyncContextManager[TargetClient]", connect())
    try:
        from protoqueue.cli.gateway import GatewayClient
    except ModuleNotFoundError:
        raise ConfigurationError("--server needs the HTTP client: pip install 'protoqueue[http]'") from None
    return GatewayClient(_server, None)


_NAMES = tuple(inspect.signature(use_connection).parameters)


class ConnectedCommand(TyperCommand):
    """A command with the options of `use_connection`, applied before it runs."""

    def __init__(self, *args: Any, params: Any = None, **settings: Any) -> None:
        super().__init__(*args, params=[*(params or ()), *_options()], **settings)

    def invoke(self, ctx: Any) -> Any:
        _apply(ctx)
        _refuse_http(str(ctx.command_path).split()[1:])
        return super().invoke(ctx)


class ConnectedGroup(TyperGroup):
    """A group of commands with the same options before the command's name."""

    def __init__(self, *args: Any, params: Any = None, **settings: Any) -> None:
        super().__init__(*args, params=[*(params or ()), *_options()], **settings)

    def invoke(self, ctx: Any) -> Any:
        _apply(ctx)
        return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        if found[0] is not None:
            _refuse_http([*str(ctx.command_path).split()[1:], str(found[0])])
        return found


def _refuse_http(words: Sequence[str]) -> None:
    """Say what to use in place of a gateway, where that cannot serve the command; the words are those of its name."""
    words = [word for word in words if not word.startswith("protoqueue")]
    name = " ".join(words)
    if _server is None or not words or (words[0] in OVER_HTTP and name not in _NOT_OVER_HTTP):
        return
    instead = _NOT_OVER_HTTP.get(name) or _NOT_OVER_HTTP.get(words[0]) or "connect to NATS with --nats"
    fail(f"`protoqueue {name}` does not work over --server: {instead}")


def _options() -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(use_connection)
    return list(get_command(app).params)


def _apply(ctx: Any) -> None:
    use_connection(**{name: ctx.params.pop(name) for name in _NAMES})

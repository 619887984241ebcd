"""Options of the connection, which stand before a command's name or after it."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

_PANEL = "Connection"

Nats = Annotated[
    str | None,
    typer.Option("--nats", help="URL of NATS, else PROTOQUEUE_NATS_URL or NATS_URL.", rich_help_panel=_PANEL),
]
Creds = Annotated[
    str | None,
    typer.Option("--creds", help="Credentials file, else PROTOQUEUE_NATS_CREDS.", rich_help_panel=_PANEL),
]
Ca = Annotated[
    str | None, typer.Option("--ca", help="CA file of NATS, else PROTOQUEUE_NATS_CA.", rich_help_panel=_PANEL)
]


def use_connection(nats: Nats = None, creds: Creds = None, ca: Ca = None) -> None:
    """Make options of the command line what `connect` and `Worker` read."""
    given = {"PROTOQUEUE_NATS_URL": nats, "PROTOQUEUE_NATS_CREDS": creds, "PROTOQUEUE_NATS_CA": ca}
    os.environ.update({name: value for name, value in given.items() if value})


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options among its own."""
    options = inspect.signature(use_connection).parameters
    own = inspect.signature(command)

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        use_connection(**{name: arguments.pop(name) for name in options})
        command(**arguments)

    # What typer goes by. It hands everything over by name.
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = command.__annotations__ | use_connection.__annotations__
    return run

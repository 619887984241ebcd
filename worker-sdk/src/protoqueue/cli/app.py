"""The application: its commands, and those that other distributions add."""

import logging
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

import protoqueue
from protoqueue.cli.connection import ConnectedGroup
from protoqueue.cli.failure import fail

PLUGINS = "protoqueue.cli"
"""Entry-point group: each one is a callable `register(app: typer.Typer) -> None`."""

COMMANDS: Mapping[str, str] = {
    "worker": "worker",
    "enqueue": "tasks",
    "peek": "tasks",
    "cancel": "tasks",
    "purge": "tasks",
    "stats": "stats",
    "top": "top",
    "pause": "pause",
    "resume": "pause",
    "why": "why",
    "logs": "logs",
    "history": "history",
    "redrive": "redrive",
    "task": "task",
    "dead": "dead",
    "keys": "keys",
}
"""The module of each command, in the order of the help. It has a function `register(app: typer.Typer) -> None`."""

log = logging.getLogger(__name__)


def build_app(command: str | None = None) -> typer.Typer:
    """The whole application, plugins included; or only what `command` needs, if that is one of ours.

    To import all others takes longer than a worker needs to start.
    """
    app = typer.Typer(
        name="protoqueue",
        cls=ConnectedGroup,
        help="Work queues on NATS JetStream, declared in Kubernetes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_general)
    alone = COMMANDS.get(command or "")
    for module in dict.fromkeys([alone] if alone else COMMANDS.values()):
        import_module(f"protoqueue.cli.{module}").register(app)
    if not alone:
        _add_plugins(app)
    return app


def _add_plugins(app: typer.Typer) -> None:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    for plugin in entry_points(group=PLUGINS):
        try:
            plugin.load()(app)
        except Exception as error:
            log.warning("plugin %s failed to load, its commands are not available: %r", plugin.value, error)
    _offer_devcluster(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(protoqueue.__version__)
        raise typer.Exit


def _general(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def _offer_devcluster(app: typer.Typer) -> None:
    """`up` and `down` come with the devcluster; where it is missing, say so rather than `no such command`."""
    present = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}

    def missing() -> None:
        fail("this command requires the embedded cluster: pip install protoqueue-devcluster")

    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name in {"up", "down"} - present:
        app.command(name, hidden=True, context_settings=settings)(missing)


def run() -> None:
    """As `protoqueue`, and as `kubectl protoqueue`, which is what kubectl makes of a program of this name on PATH."""
    as_plugin = Path(sys.argv[0]).stem == "kubectl-protoqueue"
    build_app(next(iter(sys.argv[1:]), None))(prog_name="kubectl protoqueue" if as_plugin else None)

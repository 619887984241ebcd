"""The application: its commands, and those that other distributions add."""

import logging
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from protoqueue.cli import dead, pause, tasks, worker
from protoqueue.cli.connection import Ca, Creds, Nats, use_connection
from protoqueue.cli.output import fail

PLUGINS = "protoqueue.cli"
"""Entry-point group: each one is a callable `register(app: typer.Typer) -> None`."""

log = logging.getLogger(__name__)


def build_app() -> typer.Typer:
    """The whole application, plugins included."""
    app = typer.Typer(
        name="protoqueue",
        help="Work queues on NATS JetStream, declared in Kubernetes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_connection)
    worker.register(app)
    tasks.register(app)
    pause.register(app)
    app.add_typer(dead.app, name="dead")
    for plugin in entry_points(group=PLUGINS):
        try:
            plugin.load()(app)
        except Exception as error:
            log.warning("the plugin %s is broken and left out: %r", plugin.value, error)
    _offer_devcluster(app)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version("protoqueue"))
        raise typer.Exit


def _connection(
    nats: Nats = None,
    creds: Creds = None,
    ca: Ca = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    use_connection(nats, creds, ca)


def _offer_devcluster(app: typer.Typer) -> None:
    """`up` and `down` come with the devcluster; where it is missing, say so rather than `no such command`."""
    present = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}

    def missing() -> None:
        fail("this needs the embedded cluster: pip install protoqueue-devcluster")

    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name in {"up", "down"} - present:
        app.command(name, hidden=True, context_settings=settings)(missing)


def main() -> None:
    build_app()()

"""`protoqueue worker package.module:worker`."""

import importlib
import logging
import os
import sys
from typing import Annotated

import typer

from protoqueue.cli.connection import ConnectedCommand
from protoqueue.cli.failure import errors_reported, fail
from protoqueue.errors import ConfigurationError
from protoqueue.observability.log import configure_logging
from protoqueue.worker import Worker
from protoqueue.workers import run_workers


def register(app: typer.Typer) -> None:
    app.command("worker", cls=ConnectedCommand)(run_worker)


def run_worker(
    targets: Annotated[
        list[str], typer.Argument(metavar="MODULE:WORKER…", help="The Workers to run, as package.module:worker.")
    ],
    queue: Annotated[str | None, typer.Option(help="Queue, as namespace/name; overrides the Worker's.")] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group; overrides the Worker's.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tasks at once, of each; overrides the Worker's.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="Log level: debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="Log format: text or json.")] = os.environ.get(
        "PROTOQUEUE_LOG_FORMAT", "text"
    ),
) -> None:
    """Run workers in one process until SIGTERM or Ctrl-C. The current directory is searched for modules, too."""
    with errors_reported():
        configure_logging(log_level, log_format)
    if len(targets) > 1 and (queue or group):
        fail(f"{'--queue' if queue else '--group'} is for one worker: of several, each states its own")
    workers = [load_worker(target) for target in targets]
    for worker in workers:
        worker.override(queue=queue, group=group, concurrency=concurrency)
    with errors_reported():
        if len(workers) == 1:
            workers[0].run()
        else:
            run_workers(*workers)
    logging.shutdown()


def load_worker(target: str) -> Worker:
    """Import a worker; exits with status 1 and a message if there is none. Errors inside the module are raised."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        fail(f"{target!r} is not a worker: write package.module:worker")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        fail(f"module {error.name} not found, neither in {os.getcwd()} nor among the installed packages")
    except AttributeError:
        fail(f"module {module_name} has no {attribute}")
    except ConfigurationError as error:
        fail(str(error))
    if not isinstance(found, Worker):
        fail(f"{target} is not a protoqueue.Worker but a {type(found).__name__}")
    return found

"""`protoqueue worker package.module:worker`."""

import importlib
import logging
import os
import sys
from typing import Annotated

import typer

from protoqueue.cli.connection import connected
from protoqueue.cli.output import fail, failures_told
from protoqueue.errors import ConfigurationError
from protoqueue.log import configure_logging
from protoqueue.worker import Worker


def register(app: typer.Typer) -> None:
    app.command("worker")(connected(run_worker))


def run_worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:WORKER", help="Where the Worker is, as package.module:worker.")
    ],
    queue: Annotated[str | None, typer.Option(help="namespace/name, in place of what the Worker says.")] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group, in place of what the Worker says.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Tasks at once.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="text or json.")] = os.environ.get("PROTOQUEUE_LOG_FORMAT", "text"),
) -> None:
    """Run a worker until SIGTERM or Ctrl-C. Modules are found in the current directory too."""
    with failures_told():
        configure_logging(log_level, log_format)
    worker = load_worker(target)
    worker.override(queue=queue, group=group, concurrency=concurrency)
    with failures_told():
        worker.run()
    logging.shutdown()


def load_worker(target: str) -> Worker:
    """Import it; exits with status 1 and a sentence when there is no such worker. Errors inside the module show."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        fail(f"{target!r} names no worker: write package.module:worker")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        fail(f"there is no module {error.name} here ({os.getcwd()}) or among what is installed")
    except AttributeError:
        fail(f"module {module_name} has no {attribute}")
    except ConfigurationError as error:
        fail(str(error))
    if not isinstance(found, Worker):
        fail(f"{target} is not a protoqueue.Worker but of type {type(found).__name__}")
    return found

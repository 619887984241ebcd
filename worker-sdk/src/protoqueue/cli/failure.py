"""What went wrong, as one line on stderr, and status 1."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer

from protoqueue.errors import ProtoQueueError


def fail(message: str) -> NoReturn:
    """Print the error to stderr and exit with status 1."""
    from rich.console import Console  # slow to import, and not needed where nothing fails
    from rich.text import Text

    from protoqueue.cli.table import printable

    Console(stderr=True, highlight=False).print(Text("error:", "red"), Text(printable(message)), soft_wrap=True)
    raise typer.Exit(1)


@contextlib.contextmanager
def errors_reported() -> Iterator[None]:
    """Print errors that the user can act on as one line; anything else is a bug and shows its traceback."""
    try:
        yield
    except (ProtoQueueError, OSError) as error:
        fail(str(error))

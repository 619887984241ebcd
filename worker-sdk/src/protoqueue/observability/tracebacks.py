"""Tracebacks of handlers' errors, short enough to log and to keep with a dead letter."""

import traceback
from pathlib import Path
from types import TracebackType

MOST_CHARACTERS = 3000
"""The maximum length in log lines and dead letters: the beginning and, mostly, the end, where the error is."""

_BEGINNING = 300
_MOST_FRAMES = 30
_HERE = str(Path(__file__).parents[1])


def traceback_of(error: BaseException) -> str:
    """The traceback from the handler on, with what caused the error, its middle left out where it is long."""
    found = traceback.TracebackException(
        type(error), error, _from_handler(error.__traceback__), limit=-_MOST_FRAMES, compact=True
    )
    return shortened("".join(found.format()).rstrip())


def shortened(text: str) -> str:
    """Its beginning and its end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    cut = "\n  … (shortened) …\n"
    return text[:_BEGINNING] + cut + text[len(text) - (MOST_CHARACTERS - _BEGINNING - len(cut)) :]


def _from_handler(trace: TracebackType | None) -> TracebackType | None:
    """Without the SDK's own frames at the beginning; complete if there are no others."""
    step = trace
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_HERE):
        step = step.tb_next
    return step or trace

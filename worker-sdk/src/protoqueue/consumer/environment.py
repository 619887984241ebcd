"""Reading a setting from the environment: what is wrong with one is told with its name and its value."""

from collections.abc import Callable
from typing import TypeVar

from protoqueue.errors import ConfigurationError

_Value = TypeVar("_Value")


def parsed(variable: str, text: str, parse: Callable[[str], _Value]) -> _Value:
    """What `parse` makes of it; raises ConfigurationError for its ValueError."""
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{variable}={text!r}: {error}") from error


def whole_number(text: str) -> int:
    """Of at least 1; raises ValueError that says so."""
    if not (text.strip().isascii() and text.strip().isdigit()) or int(text) < 1:
        raise ValueError("must be an integer of at least 1")
    return int(text)

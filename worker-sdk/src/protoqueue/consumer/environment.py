"""Reading settings from the environment; errors state the variable's name and value."""

from collections.abc import Callable
from typing import TypeVar

from protoqueue.errors import ConfigurationError

_Value = TypeVar("_Value")


def parsed(variable: str, text: str, parse: Callable[[str], _Value]) -> _Value:
    """The parsed value; turns a ValueError of `parse` into a ConfigurationError."""
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{variable}={text!r}: {error}") from error


def whole_number(text: str) -> int:
    """An integer of at least 1; raises ValueError otherwise."""
    if not (text.strip().isascii() and text.strip().isdigit()) or int(text) < 1:
        raise ValueError("must be an integer of at least 1")
    return int(text)

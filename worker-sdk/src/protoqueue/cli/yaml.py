"""Values as YAML, for `-o yaml`: of what JSON can hold, in block style, readable by every parser. Pure.

The SDK needs no YAML library for anything else, and JSON's strings are YAML's too.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][-A-Za-z0-9_./]*( [-A-Za-z0-9_./()]+)*")
"""What stands without quotes: it cannot be taken for a number, a date or a mark of YAML."""
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"))


def to_yaml(value: Any) -> str:
    """A document, with a line break at its end. What JSON cannot hold is shown as `str` shows it."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _entry(f"{_scalar(str(key))}:", each, indent="" if _is_list(each) else "  ")
    elif _is_list(value) and value:
        for each in value:
            first, *rest = _lines(each)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:
    if (isinstance(value, Mapping) or _is_list(value)) and value:
        yield start
        yield from (f"{indent}{line}" for line in _lines(value))
    else:
        yield f"{start} {_scalar(value)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else _quoted(value)
    if value is None or isinstance(value, bool | int | float):
        text = json.dumps(value)
        return text.replace("e", ".0e") if "e" in text and isinstance(value, float) and "." not in text else text
    if isinstance(value, Mapping):
        return "{}"
    return "[]" if _is_list(value) else _scalar(str(value))


def _quoted(text: str) -> str:
    """As JSON, with what a terminal would obey and what UTF-8 cannot hold escaped."""
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in json.dumps(text, ensure_ascii=False))


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""The part of JSONPath that printer columns and scale paths use: fields, indices, `[*]` and `[?(@.a=="b")]`."""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

Step = Callable[[Any], Iterable[Any]]
TOKEN = re.compile(
    r"\.?(?P<field>(?:[^.\[\]\\]|\\.)+)"
    r"|\[\s*(?:'(?P<quoted>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<index>-?\d+)|(?P<all>\*)"
    r"|\?\(\s*@\.?(?P<left>[^=!\s]*)\s*(?P<op>==|!=)\s*(?P<right>\"[^\"]*\"|'[^']*'|[^\s)]+)\s*\))\s*\]"
)


def _field(name: str) -> Step:
    def step(value: Any) -> Iterable[Any]:
        if name == "*":
            return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (value[name],) if isinstance(value, dict) and name in value else ()

    return step


def _index(text: str) -> Step:
    index = int(text)
    return lambda value: value[index : index + 1 or None] if isinstance(value, list) else ()


def _filter(left: str, op: str, right: str) -> Step:
    wanted = right.strip("\"'")
    path = parse_path(f".{left}") if left else ()

    def step(value: Any) -> Iterable[Any]:
        for each in value if isinstance(value, list) else ():
            found = [_text(inner) for inner in _walk(each, path)]
            if (wanted in found) is (op == "=="):
                yield each

    return step


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def parse_path(path: str) -> tuple[Step, ...]:
    """Raises ValueError for what is beyond this subset."""
    text, position, steps = path.strip().strip("{}"), 0, []
    text = text.removeprefix("$")
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unsupported JSONPath: {path}")
        position = match.end()
        name = next((match[each] for each in ("field", "quoted", "double") if match[each] is not None), None)
        if name is not None:
            steps.append(_field(re.sub(r"\\(.)", r"\1", name)))
        elif match["index"] is not None:
            steps.append(_index(match["index"]))
        elif match["all"]:
            steps.append(_field("*"))
        else:
            steps.append(_filter(match["left"], match["op"], match["right"]))
    return tuple(steps)


def _walk(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    found = [value]
    for step in steps:
        found = [inner for each in found for inner in step(each)]
    return found


def find(value: Any, path: str) -> list[Any]:
    """Everything `path` leads to. Raises ValueError for a path beyond the subset."""
    return _walk(value, parse_path(path))

"""Write the table of values in the chart's README from the comments of its values.yaml, as helm-docs does.

python hack/chart_readme.py charts/protoqueue
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

START, END = "<!-- values: `make chart` writes them from values.yaml -->", "<!-- end of values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):")


@dataclass(frozen=True)
class Value:
    """One row: a value of the chart that has a `# --` comment."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def row(self) -> str:
        default = json.dumps(self.default, ensure_ascii=False)
        description = self.description.replace("|", r"\|")
        return f"| `{'.'.join(self.path)}` | `{default}` | {description} |"


def documented_values(text: str) -> Iterator[Value]:
    """The values of a values.yaml that have a `# --` comment above them, in its order."""
    defaults = yaml.safe_load(text)
    comment: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and comment:
            comment.append(stripped.removeprefix("# "))
        elif key := _KEY.match(line):
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if comment:
                yield Value(tuple(path), at(defaults, path), " ".join(comment))
            comment = []
        elif not stripped:
            comment = []


def at(values: Any, path: list[str]) -> Any:
    for key in path:
        values = values[key]
    return values


def render(readme: str, values: str) -> str:
    """`readme` with the table between its markers renewed."""
    before, _, rest = readme.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the README lacks the markers {START!r} and {END!r}")
    rows = [value.row for value in documented_values(values)]
    table = "\n".join(["| Value | Default | What it is |", "| --- | --- | --- |", *rows])
    return f"{before}{START}\n{table}\n{END}{after}"


if __name__ == "__main__":
    chart = Path(sys.argv[1])
    readme_file = chart / "README.md"
    readme_file.write_text(render(readme_file.read_text(), (chart / "values.yaml").read_text()))

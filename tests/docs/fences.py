"""The fenced code blocks of the documentation, and what a comment before one says about it.

Three marks are known; readers of the page do not see them:

    <!-- runs -->                              the block is executed, after those before it on the page
    <!-- runs with {"to": "x"} -->             … and its `worker` must finish a task with this payload
    <!-- runs with {…}, dies Rejected -->      … or give it up with this reason
    <!-- only syntax -->                       the block is of another world: it only has to compile
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "charts/protoqueue/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
_MARK = re.compile(r"<!--\s*(runs|only syntax)(?: with (?P<payload>\{.*?\}))?(?:, dies (?P<reason>\w+))?\s*-->\s*")


@dataclass(frozen=True)
class Fence:
    page: Path
    line: int
    language: str
    title: str
    text: str
    runs: bool = False
    only_syntax: bool = False
    payload: Any = None
    reason: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(page: Path, *languages: str) -> list[Fence]:
    """The blocks of a page, of the given languages if any. Raises ValueError for a mark that is none of the known."""
    tokens = MarkdownIt().parse(page.read_text())
    found = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "fence":
            continue
        language, _, options = token.info.partition(" ")
        titles = [word.removeprefix("title=") for word in shlex.split(options) if word.startswith("title=")]
        mark = before.content if before is not None and before.type == "html_block" else ""
        place = (page, (token.map or [0])[0] + 1, language, titles[0] if titles else "", token.content)
        found.append(_marked(Fence(*place), mark))
    return [fence for fence in found if not languages or fence.language in languages]


def all_fences(*languages: str) -> list[Fence]:
    return [fence for page in PAGES for fence in fences(page, *languages)]


def _marked(fence: Fence, mark: str) -> Fence:
    if not mark.strip():
        return fence
    match = _MARK.fullmatch(mark)
    if not match:
        raise ValueError(f"{fence.place}: no mark is written {mark.strip()}")
    payload = json.loads(match["payload"]) if match["payload"] else None
    place = (fence.page, fence.line, fence.language, fence.title, fence.text)
    return Fence(*place, match[1] == "runs", match[1] == "only syntax", payload, match["reason"])

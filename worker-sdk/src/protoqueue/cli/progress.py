"""What a command is waiting for, on a terminal's stderr, as soon as it takes long enough to be asked."""

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.text import Text

T = TypeVar("T")

_SHOWN_AFTER_S = 0.5
_REFRESHED_S = 0.2


class _Doing:
    def __init__(self, text: str) -> None:
        self.text = text
        self.since = time.monotonic()


_doing: ContextVar[_Doing | None] = ContextVar("doing", default=None)


def say(text: str) -> None:
    """From now on this is what is being done, such as `reading dead letters: 4000`. Nothing happens outside `shown`."""
    if (doing := _doing.get()) is not None:
        doing.text = text


async def shown(work: Awaitable[T], text: str) -> T:
    """The result of `work`; meanwhile a terminal shows what is being done, and for how long."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        return await work
    doing = _Doing(text)
    token = _doing.set(doing)
    try:
        task = asyncio.ensure_future(work)
        showing = asyncio.create_task(_show(console, doing))
        try:
            return await task
        finally:
            showing.cancel()
            await asyncio.wait([showing])
    finally:
        _doing.reset(token)


async def _show(console: Console, doing: _Doing) -> None:
    await asyncio.sleep(_SHOWN_AFTER_S)
    with console.status("") as status:
        while True:
            text, room = f"{doing.text}… {time.monotonic() - doing.since:.0f} s", console.width - 3
            status.update(Text(text if len(text) <= room else f"{text[: room - 1]}…"))
            await asyncio.sleep(_REFRESHED_S)

"""The event loop that a connection belongs to."""

import asyncio

from protoqueue.errors import ConfigurationError


class OwnLoop:
    """The loop it is made in, or where none runs then the first that it is used in."""

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def check(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises ConfigurationError where it is another: what it awaited there would never come."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        if running is not self._loop:
            raise ConfigurationError(
                "this client belongs to another event loop; nothing was sent. Connect one in this loop, or, from a "
                "thread, use protoqueue.sync"
            )
        return running

"""The event loop that a connection belongs to."""

import asyncio

from protoqueue.errors import ConfigurationError


class OwnLoop:
    """The loop in which the connection is created; if none runs then, the first in which it is used."""

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def check(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises ConfigurationError if it is another one, where an answer would never arrive."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        if running is not self._loop:
            raise ConfigurationError(
                "this client belongs to another event loop; nothing was sent. Connect one in this loop, or, from a "
                "thread, use protoqueue.sync"
            )
        return running

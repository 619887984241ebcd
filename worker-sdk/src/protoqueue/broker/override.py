"""The broker this process uses in place of a connection, if any: the hook for `protoqueue.testing`."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from protoqueue.broker import Broker, ConnectionOptions, JetStreamBroker
from protoqueue.errors import Unavailable

_stack: list[Broker] = []


@contextlib.contextmanager
def use_broker(broker: Broker) -> Iterator[None]:
    """Within the block, `open_broker` returns this one, in all tasks and threads: fixtures run in other contexts."""
    _stack.append(broker)
    try:
        yield
    finally:
        _stack.remove(broker)


async def open_broker(options: ConnectionOptions, timeout_s: float) -> Broker:
    """The broker to use, which the caller is to close; raises what `JetStreamBroker.connect` raises."""
    if _stack:
        return cast("Broker", SharedBroker(_stack[-1]))
    return await JetStreamBroker.connect(options, timeout_s)


class SharedBroker:
    """A shared broker as one of its users sees it: closing it closes it for that user only."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:
        if self._is_closed:
            raise Unavailable("the connection to the in-memory queues is closed")
        return getattr(self._broker, name)

    async def close(self) -> None:
        self._is_closed = True

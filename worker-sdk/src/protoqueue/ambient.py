"""The broker this process uses in place of a connection, if any: how `protoqueue.testing` gets under everything."""

import contextlib
from collections.abc import Iterator

from protoqueue.connection import Broker, ConnectionOptions, JetStreamBroker

_stack: list[Broker] = []


@contextlib.contextmanager
def use_broker(broker: Broker) -> Iterator[None]:
    """Within the block, `open_broker` gives this one. Not per task or thread: fixtures run in contexts of their own."""
    _stack.append(broker)
    try:
        yield
    finally:
        _stack.remove(broker)


async def open_broker(options: ConnectionOptions, timeout_s: float) -> tuple[Broker, bool]:
    """The broker to use, and whether the caller is to close it; raises what `JetStreamBroker.connect` raises."""
    if _stack:
        return _stack[-1], False
    return await JetStreamBroker.connect(options, timeout_s), True

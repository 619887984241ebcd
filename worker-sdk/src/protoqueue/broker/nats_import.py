"""nats-py without aiohttp, which it imports for WebSockets alone and which takes as long to import as all the rest.

To be imported before anything of `nats`; where something else has imported that already, nothing is gained or lost.
"""

import importlib
import sys
from typing import Any

if "nats.aio.transport" not in sys.modules and "aiohttp" not in sys.modules:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # the way to say that it cannot be imported
    try:
        importlib.import_module("nats.aio.transport")
    finally:
        del sys.modules["aiohttp"]


def use_websockets() -> None:
    """Let nats-py have aiohttp after all; where it is not installed, nats-py says so when it connects."""
    transport: Any = importlib.import_module("nats.aio.transport")
    if transport.aiohttp is None:
        try:
            transport.aiohttp = importlib.import_module("aiohttp")
            transport.multidict = importlib.import_module("multidict")
        except ImportError:
            return

"""Queues over HTTP, through ProtoQueue's gateway: `pip install 'protoqueue[http]'`.

    queues = protoqueue.http.Queues(api_key="pq_…", base_url="http://localhost:8080")
    queues.enqueue(queue="email", payload={"to": "ada@example.org"})

`AsyncQueues` has the same methods as coroutines. Whoever can reach NATS uses `protoqueue.connect` or `protoqueue.sync`
instead: they do more, and faster.
"""

try:
    import httpx as _httpx  # noqa: F401
except ImportError as _error:
    raise ImportError("protoqueue.http needs httpx: pip install 'protoqueue[http]'") from _error

from protoqueue.errors import ConfigurationError
from protoqueue.http.asynchronous import AsyncQueues
from protoqueue.http.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    FieldError,
    Forbidden,
    InvalidRequest,
    LeaseLost,
    MalformedAnswer,
    NotFound,
    QueueFull,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from protoqueue.http.model import Enqueued, Message, QueueInfo, QueueStats
from protoqueue.http.synchronous import Queues
from protoqueue.outcomes import Reject, Retry, Throttle

__all__ = [
    "ApiError",
    "AsyncQueues",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "Enqueued",
    "FieldError",
    "Forbidden",
    "InvalidRequest",
    "LeaseLost",
    "MalformedAnswer",
    "Message",
    "NotFound",
    "QueueFull",
    "QueueInfo",
    "QueueStats",
    "Queues",
    "RateLimited",
    "Reject",
    "Retry",
    "Throttle",
    "Unauthorized",
    "Unavailable",
]

"""Rate limits that all workers of a queue or group keep together."""

from protoqueue.ratelimit.limiter import Limiter
from protoqueue.ratelimit.store import Store

__all__ = ["Limiter", "Store"]

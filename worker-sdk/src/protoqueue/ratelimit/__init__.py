"""Rate limits that all workers of a queue or group keep together."""

from protoqueue.ratelimit.limiter import Limiter
from protoqueue.ratelimit.store import RateBucket, Store

__all__ = ["Limiter", "RateBucket", "Store"]

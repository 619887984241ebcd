"""Rate limits that all workers of a queue or group keep together."""

from protoqueue.ratelimit.limiter import Limiter

__all__ = ["Limiter"]

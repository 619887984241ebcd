"""When a failed task is tried again."""

from datetime import timedelta

from protoqueue.protocol.config import RetryPolicy
from protoqueue.protocol.durations import LONGEST


def retry_delay(policy: RetryPolicy, attempt: int, jitter: float) -> timedelta:
    """Delay before attempt `attempt + 1`; `jitter` in [-1, 1] keeps workers out of step. Raises nothing."""
    try:
        grown = policy.initial_delay_s * policy.multiplier ** max(0, attempt - 1)
    except OverflowError:
        grown = policy.max_delay_s
    seconds = min(grown, policy.max_delay_s) * (1 + policy.jitter * jitter)
    return timedelta(seconds=min(seconds, LONGEST.total_seconds()))

"""To end, by hand, what a handler's `Throttle` has begun."""

from datetime import timedelta

from protoqueue.admin.stats import read_group_throttle
from protoqueue.broker import Broker, WrongRevision
from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.throttle import ThrottledUntil

_OVER = timedelta(seconds=1)


async def end_throttle(broker: Broker, group: GroupName, timeout_s: float) -> bool:
    """Let the group's workers start tasks again; whether it was throttled. Raises Unavailable and PermissionDenied."""
    while await read_group_throttle(broker, group, timeout_s) is not None:
        entry = await broker.read_key(DONE_BUCKET, group.throttle_key, timeout_s)
        over = ThrottledUntil(broker.now() - _OVER, "ended by hand").encode()
        try:
            await broker.write_key(DONE_BUCKET, group.throttle_key, over, entry.number, timeout_s)
        except WrongRevision:  # a handler has just said more
            continue
        return True
    return False

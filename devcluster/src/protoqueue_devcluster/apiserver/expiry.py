"""Events live for an hour, as on a real server: a busy operator writes thousands."""

import asyncio
from datetime import UTC, datetime, timedelta

from .columns import parse_time
from .storage import Key, Store

LIFETIME = timedelta(hours=1)
SWEEP_EVERY_S = 60.0
RESOURCES: tuple[Key, ...] = (("", "events"), ("events.k8s.io", "events"))


def expire(store: Store, now: datetime) -> int:
    """Remove the events last seen more than `LIFETIME` before `now`; returns how many."""
    gone = 0
    for key in RESOURCES:
        for item in store.collection(key).items():
            metadata = item.object["metadata"]
            times = (metadata["creationTimestamp"], item.object.get("lastTimestamp"), item.object.get("eventTime"))
            seen = [moment for moment in map(parse_time, times) if moment is not None]
            if max(seen, default=now) < now - LIFETIME:
                store.remove(key, metadata.get("namespace", ""), metadata["name"], item.object)
                gone += 1
    return gone


async def sweep(store: Store) -> None:
    """Expire events for ever."""
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        expire(store, datetime.now(UTC))

"""The names of consumers: the operator's own, and to which group one belongs."""

import re

SCHEDULED_CONSUMER = "_scheduled"
"""The durable that is never pulled, beside what is scheduled: its `num_pending` counts the tasks not yet due."""

KEPT_CONSUMER = "_kept"
"""The durable of a Broadcast queue that is never pulled: what is scheduled is kept for it until it is due."""

_OF_GROUP = re.compile(r"(?P<group>[-a-z0-9]+)_[pou](?P<number>[0-9]+)")


def group_of_consumer(consumer: str) -> tuple[str, int] | None:
    """The group a consumer belongs to and its level or partition; None for one of the operator's own."""
    match = _OF_GROUP.fullmatch(consumer)
    return (match["group"], int(match["number"])) if match else None

"""The names of consumers: the operator's own, and those of groups."""

import re

SCHEDULED_CONSUMER = "_scheduled"
"""A durable on scheduled tasks that is never pulled: its `num_pending` counts the tasks not yet due."""

KEPT_CONSUMER = "_kept"
"""A durable of a Broadcast queue that is never pulled: it keeps scheduled tasks in the stream until they are due."""

_OF_GROUP = re.compile(r"(?P<group>[-a-z0-9]+)_[pou](?P<slot>(?P<number>[0-9]+)(-[0-9]+)?)")


def group_of_consumer(consumer: str) -> tuple[str, int] | None:
    """The group a consumer belongs to and its level or partition; None for one of the operator's own."""
    match = _OF_GROUP.fullmatch(consumer)
    return (match["group"], int(match["number"])) if match else None


def slot_of_consumer(consumer: str) -> str | None:
    """The last token of the subjects of a group's consumer; None for one of the operator's own."""
    match = _OF_GROUP.fullmatch(consumer)
    return match["slot"] if match else None

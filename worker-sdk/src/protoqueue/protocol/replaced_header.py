"""`Pq-Replaced`: which tasks a task was stored in place of. Pure."""

from collections.abc import Mapping, Sequence

from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.tokens import is_token

REMOVED = "purge"
"""What `Nats-Schedule-Next` says for the server to remove the schedule that `Nats-Scheduler` names."""

_MOST = 8
"""The last of a burst: only what is due this moment can still come to a worker."""


def read_replaced(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Their ids, the one that it replaced itself last."""
    return tuple(filter(None, headers.get(Header.REPLACED, "").split(",")))


def write_replaced(task_ids: Sequence[str]) -> str:
    """Foreign ids that a header could not hold, or could not tell apart, are left out."""
    return ",".join([task_id for task_id in task_ids if is_token(task_id)][-_MOST:])

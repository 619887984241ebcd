"""What a worker is told about itself: in its constructor, else by the environment."""

import os
from dataclasses import dataclass
from functools import partial

from protoqueue.consumer.environment import parsed, whole_number
from protoqueue.errors import ConfigurationError
from protoqueue.protocol.durations import to_seconds
from protoqueue.protocol.names import GroupName, QueueName

DEFAULT_CONCURRENCY = 10
DEFAULT_GRACE_PERIOD_S = 30.0
"""How long after SIGTERM Kubernetes sends SIGKILL unless told otherwise."""

_HANDING_BACK_S = 5.0
"""Reserved at the end of the grace period for handing back unfinished tasks, but at most a quarter of it."""


@dataclass
class WorkerOptions:
    """As given in the constructor; None for what the environment says. Nothing is checked before it is read."""

    queue: str | None = None
    group: str | None = None
    concurrency: int | None = None
    grace_s: float | None = None

    def override(self, queue: str | None, group: str | None, concurrency: int | None) -> None:
        """Replace those that are given."""
        self.queue = queue or self.queue
        self.group = group or self.group
        self.concurrency = concurrency or self.concurrency

    def read_names(self) -> tuple[QueueName, GroupName | None]:
        """The queue, and the group if one is named. Raises ConfigurationError.

        The group of the environment is one of the queue that the environment names.
        """
        stated = os.environ.get("PROTOQUEUE_QUEUE")
        queue = self.queue or stated
        group = self.group or (os.environ.get("PROTOQUEUE_GROUP") if stated in (None, "", queue) else None)
        if not queue:
            raise ConfigurationError("no queue given: pass Worker('namespace/name'), or set PROTOQUEUE_QUEUE")
        queue_name = parsed("queue" if self.queue else "PROTOQUEUE_QUEUE", str(queue), QueueName.parse)
        if not group:
            return queue_name, None
        parse_group = partial(GroupName.parse, queue_name)
        return queue_name, parsed("group" if self.group else "PROTOQUEUE_GROUP", str(group), parse_group)

    def read_concurrency(self) -> int:
        """How many tasks may run at once. Raises ConfigurationError."""
        concurrency = self.concurrency
        if concurrency is None:
            text = os.environ.get("PROTOQUEUE_CONCURRENCY") or str(DEFAULT_CONCURRENCY)
            concurrency = parsed("PROTOQUEUE_CONCURRENCY", text, whole_number)
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency must be an integer of at least 1, not {concurrency!r}")
        return concurrency

    def read_grace_s(self) -> float:
        """For how many seconds running tasks may go on after a stop. Raises ConfigurationError."""
        if self.grace_s is not None:
            return self.grace_s
        text = os.environ.get("PROTOQUEUE_GRACE_PERIOD") or str(DEFAULT_GRACE_PERIOD_S)
        try:
            period_s = to_seconds("PROTOQUEUE_GRACE_PERIOD", float(text))
        except ValueError as error:
            raise ConfigurationError(
                f"PROTOQUEUE_GRACE_PERIOD={text} is not a number of seconds, such as 30: {error}"
            ) from error
        return period_s - min(_HANDING_BACK_S, period_s / 4)

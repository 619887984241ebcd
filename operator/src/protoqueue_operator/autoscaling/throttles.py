"""Which groups are throttled by one of their handlers (`Throttle`).

Workers write that into `pq-done`; the operator hears the writes, and reads periodically what it has missed.
"""

from collections.abc import Callable, Set
from datetime import datetime

from nats.aio.msg import Msg

from protoqueue.protocol.buckets import DONE_BUCKET
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.protocol.throttle import ThrottledUntil, read_throttle
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.kv import read_noted

READ_AGAIN_S = 15.0

_ALL = f"$KV.{DONE_BUCKET}.*.*.*.throttle.until"


class Throttles:
    """Of one broker."""

    def __init__(self, broker: Broker, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._broker = broker
        self._heard: Callable[[QueueName], None] = lambda _: None
        self._now = now
        self._monotonic = monotonic
        self._known: dict[GroupName, ThrottledUntil | None] = {}
        self._read_at: dict[GroupName, float] = {}
        self._listens = False

    def on_told(self, heard: Callable[[QueueName], None]) -> None:
        """Have `heard` called with the queue of a group that has just been throttled."""
        self._heard = heard

    async def of(self, group: GroupName, *, closely: bool) -> ThrottledUntil | None:
        """None if it may start tasks, or if that may not be read. NATS is asked if `closely`, but not each time.

        Raises BrokerUnavailable.
        """
        if not self._listens:
            await self._broker.connection.subscribe(_ALL, self._told)  # kept through outages
            self._listens = True
        if closely and self._monotonic() - self._read_at.get(group, -READ_AGAIN_S) >= READ_AGAIN_S:
            self._read_at[group] = self._monotonic()
            await self._read(group)
        throttle = self._known.get(group)
        return throttle if throttle is not None and throttle.until > self._now() else None

    def forget_others(self, queues: Set[QueueName]) -> None:
        """Forget the groups of all other queues."""
        for group in [group for group in self._read_at if group.queue not in queues]:
            del self._read_at[group]
        for group in [group for group in self._known if group.queue not in queues]:
            del self._known[group]

    async def _read(self, group: GroupName) -> None:
        try:
            self._known[group] = read_throttle(await read_noted(self._broker.jetstream, group.throttle_key))
        except BrokerRefused:
            self._known[group] = None

    def _told(self, message: Msg) -> None:
        _, _, namespace, queue, group, *_ = message.subject.split(".")
        name = GroupName(QueueName(namespace, queue), group)
        self._known[name] = read_throttle(message.data)
        self._heard(name.queue)


def throttled_condition(group: Group, throttle: ThrottledUntil | None) -> Condition | None:
    """Throttled; None if it is false and was never set."""
    before = group.status.condition("Throttled")
    if throttle is None and (before is None or before.status != "True"):
        return None
    return Condition(
        type="Throttled",
        status="False" if throttle is None else "True",
        reason="NotThrottled" if throttle is None else "ThrottledByHandler",
        message="tasks are started" if throttle is None else f"no task is started {said(throttle)}",
        observed_generation=group.meta.generation,
    )


def said(throttle: ThrottledUntil) -> str:
    """Until when, and why."""
    return f"before {throttle.until:%Y-%m-%dT%H:%M:%SZ}{f': {throttle.why}' if throttle.why else ''}"

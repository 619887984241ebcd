"""Pull requests to all consumers of a group, sized by the slots a worker has free."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from protoqueue.broker import Broker, Delivery, Inbox, PullEnd
from protoqueue.consumer.fair_share import FairShare, Request, State
from protoqueue.errors import Unavailable
from protoqueue.protocol.config import Consumer, GroupSettings

log = logging.getLogger(__name__)

WATCH_S = 5.0
"""How long a request waits at an empty consumer before it is renewed."""

_LANES_WATCH_S = 30.0
"""The same at a lane's: as there are many, they are renewed less often. Those of one consumer tell whether all work."""

ANSWER_S = 1.0
"""How long a request for present tasks may take. Longer means that it got lost, or that `maxInFlight` is reached."""

_REFUSED_WAIT_S = 0.02
_GONE_WAIT_S = 1.0


class Puller:
    """Hands each delivery with the number of its source to `deliver`, and calls `wake` when there is more to plan."""

    def __init__(
        self, broker: Broker, stream: str, group: GroupSettings, deliver: Callable[[int, Delivery], None],
        wake: Callable[[], None], *, has_lanes: bool = False,
    ) -> None:  # fmt: skip
        self._fair_share = FairShare(group.consumers, group.strict, has_lanes=has_lanes)
        self._has_lanes = has_lanes
        self._stream = stream
        self._deliver = deliver
        self._wake = wake
        self._inboxes = [self._open(broker, stream, n, consumer) for n, consumer in enumerate(group.consumers)]
        self._asked_at = [0.0] * len(self._inboxes)
        self._resting = [0.0] * len(self._inboxes)
        self._withdrawals: set[asyncio.Task[None]] = set()
        self.answered_at = self.heard_at = time.monotonic()
        """When a consumer last had something or said that it had nothing, and when NATS last answered any request."""

    def _open(self, broker: Broker, stream: str, number: int, consumer: Consumer) -> Inbox:
        where = consumer.stream or stream
        return broker.open_inbox(where, consumer.name, partial(self._received, number), partial(self._ended, number))

    @property
    def requested(self) -> int:
        return self._fair_share.requested

    @property
    def found_nothing(self) -> bool:
        return all(source.state is State.EMPTY and not source.requested for source in self._fair_share.sources)

    async def ask(self, free: int) -> None:
        """Request what `free` slots can take; raises nothing: what could not be sent is requested again later."""
        for request in self._fair_share.plan(free):
            await self._send(request)

    async def _send(self, request: Request) -> None:
        now = time.monotonic()
        if now < self._resting[request.source]:
            self._rest(request.source)
            return
        self._asked_at[request.source] = now
        try:
            await self._inboxes[request.source].request(
                request.batch, self._watch_s(request.source) if request.watch else None
            )
        except Unavailable:
            self._fair_share.ended(request.source)
            self._rest(request.source)

    def _received(self, number: int, delivery: Delivery) -> None:
        self.answered_at = self.heard_at = self._asked_at[number] = time.monotonic()
        self._fair_share.received(number, delivery.pending)
        self._deliver(number, delivery)
        if self._has_lanes and self._fair_share.sources[number].state is State.EMPTY:
            self._wake()  # it is to be watched again at once

    def _ended(self, number: int, why: PullEnd) -> None:
        self._fair_share.ended(number)
        self.heard_at = time.monotonic()
        if why is PullEnd.EMPTY:
            self.answered_at = self.heard_at
        else:
            self._resting[number] = time.monotonic() + (_GONE_WAIT_S if why is PullEnd.GONE else _REFUSED_WAIT_S)
            if why is PullEnd.GONE:
                consumer = self._fair_share.sources[number].consumer
                where = consumer.stream or self._stream
                log.warning(
                    "consumer %s of %s does not exist: waiting for the operator to create it", consumer.name, where
                )
        self._wake()

    def _watch_s(self, number: int) -> float:
        return _LANES_WATCH_S if self._has_lanes and number else WATCH_S

    def _rest(self, number: int) -> None:
        """Pause a source until its rest is over: it counts as empty and watched."""
        self._fair_share.ended(number)
        source = self._fair_share.sources[number]
        source.watched = True

        def over() -> None:
            source.watched = False
            self._wake()

        wait_s = max(_REFUSED_WAIT_S, self._resting[number] - time.monotonic())
        asyncio.get_running_loop().call_later(wait_s, over)

    def no_slots(self, keep_watching: bool) -> None:
        """All slots are taken. Unless more is wanted anyway, waiting requests are withdrawn."""
        if keep_watching:
            self._fair_share.forget_empty()
            return
        for number in self._fair_share.full():
            self._withdraw_later(number)

    def ask_anew(self) -> None:
        """Sources found empty may have tasks; waiting requests stay."""
        self._fair_share.forget_empty(watched=True)
        self._wake()

    def check(self) -> None:
        """Give up requests without an answer; to be called periodically."""
        now = time.monotonic()
        for number, source in enumerate(self._fair_share.sources):
            timeout_s = ANSWER_S if source.requested else self._watch_s(number) + ANSWER_S
            waits = source.requested or (source.watched and now > self._resting[number] + ANSWER_S)
            if waits and now - self._asked_at[number] > timeout_s:
                self._withdraw_later(number)
                self._fair_share.ended(number)
                self._wake()

    def reset(self) -> None:
        """The connection is new: all earlier requests are void."""
        self._fair_share.reset()
        self.expect_answers()
        self._wake()

    def expect_answers(self) -> None:
        """Count the time without an answer from now on: before, there was nothing to request."""
        self.answered_at = self.heard_at = time.monotonic()

    def _withdraw_later(self, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._inboxes[number].withdraw())
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def withdraw(self) -> None:
        """Withdraw all requests; what was on its way has been delivered when this returns."""
        self._fair_share.full()
        self._fair_share.reset()
        await asyncio.gather(*(inbox.withdraw() for inbox in self._inboxes), *self._withdrawals)

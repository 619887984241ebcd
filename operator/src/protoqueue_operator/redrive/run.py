"""One run of a Redrive: counts the matching dead letters, then puts them back, batch by batch."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.api.v1alpha1.objects import Redrive
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.jetstream.atomic_batch import Duplicate, Full, GivenUp, NotStored, TooLarge, WrongSequence
from protoqueue_operator.jetstream.client import Json
from protoqueue_operator.redrive import checkpoints
from protoqueue_operator.redrive.batch_writer import BatchWriter
from protoqueue_operator.redrive.checkpoint import Checkpoint
from protoqueue_operator.redrive.checkpoints import Place
from protoqueue_operator.redrive.letter_source import LetterSource
from protoqueue_operator.redrive.letters import DeadLetter
from protoqueue_operator.redrive.pace import Pace
from protoqueue_operator.redrive.plan import MOST_AT_ONCE, Room, is_selective, take
from protoqueue_operator.redrive.state import Turn

FULL_AGAIN_S = 1.0

_CHECKPOINT_BYTES = 8192
"""At most, as the stream counts them."""


@dataclass(frozen=True)
class Step:
    """The result of one step."""

    is_done: bool = False
    wait_s: float = 0.0
    reason: str = ""
    """What it waits for; empty if only for the stated rate."""
    message: str = ""


class Superseded(Exception):
    """The stored checkpoint is not the one this run knows: start again from that one."""


class Run:
    """Cannot be used any more once a method has raised BrokerUnavailable, BrokerRefused or Superseded."""

    def __init__(
        self,
        redrive: Redrive,
        spec: RedriveSpec,
        place: Place,
        turn: Turn,
        known: Checkpoint | None,
        *,
        redrives: Callable[[], Collection[str]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """`known` is its last known progress; `redrives` returns the uids of all Redrives."""
        self.place = place
        self.checkpoint = known
        self._spec = spec
        self._turn = turn
        self._redrives = redrives
        self._now = now
        self._monotonic = monotonic
        self._pace: Pace | None = None
        self._subject = place.queue.name.dead_letter(spec.group or "*")
        self._writer = BatchWriter(place, redrive.meta.uid, self._subject, monotonic)
        self._source = LetterSource(place, self._subject, spec.filter, self._writer.prepare)
        self._counted: Checkpoint | None = None
        self._counting = LetterSource(place, self._subject, spec.filter)
        self._moves = -1

    def follow(self, spec: RedriveSpec) -> None:
        """Update the specification, of which only the rate may have changed."""
        self._spec = spec

    async def open(self) -> None:
        """Read its progress."""
        known = [*await self._writer.open(), *([self.checkpoint] if self.checkpoint else [])]
        self.checkpoint = max(known, key=lambda each: (each.position, each.moved), default=None)

    async def close(self) -> None:
        """Raises nothing."""
        await self._counting.close()
        await self._source.close()

    async def step(self) -> Step:
        """Do one step, of some milliseconds. Raises BrokerUnavailable, BrokerRefused and Superseded."""
        if self.checkpoint is None:
            self.checkpoint = await self._count()
            return Step()
        if self._spec.dry_run or self._is_at_limit(self.checkpoint):
            return Step(is_done=True)
        async with self._turn.lock:
            await checkpoints.settle(self.place, self._turn, self._redrives())
            return await self._move(self.checkpoint)

    def _is_at_limit(self, checkpoint: Checkpoint) -> bool:
        return self._spec.limit is not None and checkpoint.moved >= self._spec.limit

    async def _count(self) -> Checkpoint | None:
        """The progress before the first batch; None until all letters that a filter must examine are read."""
        source = self._counting
        if not source.is_open:
            info = await self.place.broker.jetstream.stream(self.place.queue.name.dead_letter_stream, self._subject)
            state: Json = info["state"] if info else {"last_seq": 0}
            matched = sum((state.get("subjects") or {}).values())
            counted = Checkpoint(self._now(), state["last_seq"], matched)
            if not is_selective(self._spec.filter) or not matched:
                return counted
            self._matched, self._counted = 0, counted
            await source.open(1, counted.last)
        await source.more()
        self._matched += len(source.letters)
        source.letters.clear()
        if not source.is_exhausted:
            return None
        await source.close()
        assert self._counted
        return Checkpoint(self._counted.started, self._counted.last, self._matched)

    async def _move(self, checkpoint: Checkpoint) -> Step:
        """Put back one batch, with the turn."""
        source = self._source
        if not source.is_open or self._moves != self._turn.moves:
            await source.open(checkpoint.position + 1, checkpoint.last)
            self._moves = self._turn.moves
        await source.fill()
        if not source.letters:
            return Step(is_done=True)
        pace = self._current_pace()
        most = self._most(checkpoint, pace)
        if pace and most < 1:
            return Step(wait_s=pace.wait_s())
        room = await self._room()
        count = take([dead.letter for dead in islice(source.letters, most)], most, room, self._writer.most_runs)
        if count < 1:
            return self._full()
        batch = [source.letters.popleft() for _ in range(count)]
        if not source.letters:
            source.read_ahead()
        step = await self._put_back(batch)
        self._turn.moves += 1
        self._moves = self._turn.moves
        if pace:
            pace.spend(count)
            return Step(wait_s=pace.wait_s()) if step == Step() and pace.allowance < 1 else step
        return step

    def _most(self, checkpoint: Checkpoint, pace: Pace | None) -> int:
        most = MOST_AT_ONCE if self._writer.is_marked else 1
        if self._spec.limit is not None:
            most = min(most, self._spec.limit - checkpoint.moved)
        return most if pace is None else min(most, pace.allowed(self._monotonic()))

    def _current_pace(self) -> Pace | None:
        if self._spec.rate is None:
            self._pace = None
        elif self._pace is None or self._pace.rate != self._spec.rate.per_second:
            self._pace = Pace(self._spec.rate.per_second, self._monotonic())
        return self._pace

    async def _room(self) -> Room:
        """If the queue drops its oldest tasks when full, moving more than fits would lose waiting tasks."""
        limits = self.place.spec.limits
        if limits.max_tasks is None and limits.max_bytes is None:
            return Room()
        info = await self.place.broker.jetstream.stream(self.place.layout.stream)
        state = info["state"] if info else {"messages": 0}
        messages = size = None
        if limits.max_tasks is not None:
            messages = max(0, limits.max_tasks - state["messages"] - self._writer.is_marked)
        if limits.max_bytes is not None:
            size = max(0, limits.max_bytes - int(state.get("bytes", 0)) - _CHECKPOINT_BYTES)
        return Room(messages, size)

    def _full(self) -> Step:
        limits = self.place.spec.limits
        stated = [
            f"spec.limits.{name} is {value}"
            for name, value in (("maxTasks", limits.max_tasks), ("maxBytes", limits.max_bytes))
            if value is not None
        ]
        why = f" ({', '.join(stated)})" if stated else ""
        message = f"the Queue {self.place.queue.meta.name} is full{why}: it goes on when workers have made room"
        return Step(wait_s=FULL_AGAIN_S, reason="QueueFull", message=message)

    async def _put_back(self, batch: list[DeadLetter]) -> Step:
        """Store all; if refused for one of them, in halves, down to that one."""
        left = [batch]
        while left:
            some = left.pop()
            assert self.checkpoint
            try:
                self.checkpoint = await self._writer.commit(some, self.checkpoint)
            except Full:
                rest = [dead for part in (some, *reversed(left)) for dead in part]
                self._source.letters.extendleft(reversed(rest))
                return self._full()
            except WrongSequence as error:
                raise Superseded(str(error)) from error
            except NotStored as error:
                if len(some) > 1:
                    middle = len(some) // 2
                    left += [some[middle:], some[:middle]]
                elif isinstance(error, GivenUp):
                    raise BrokerUnavailable(f"JetStream gave a batch up: {error}") from error
                else:
                    failure = "" if isinstance(error, Duplicate) else _why_refused(error)
                    self.checkpoint = await self._pass_over(some[0], self.checkpoint, failure)
        return Step()

    async def _pass_over(self, dead: DeadLetter, checkpoint: Checkpoint, failure: str) -> Checkpoint:
        try:
            return await self._writer.pass_over(dead, checkpoint, failure)
        except WrongSequence as error:
            raise Superseded(str(error)) from error
        except NotStored as error:
            raise BrokerUnavailable(f"JetStream does not store how far the Redrive has come: {error}") from error


def _why_refused(error: NotStored) -> str:
    if isinstance(error, TooLarge):
        return f"it is larger than the queue takes ({error}): raise spec.limits.maxTaskSize"
    return str(error)

"""Which consumer a worker's free slots are asked from. Pure: facts in, requests out.

Each source (a level's or a partition's consumer) is in one of three states. UNKNOWN or BUSY ones are asked for as many
tasks as there are slots for them, and answer at once. An EMPTY one is watched with a request for a single task that
waits for it; that one is not counted, since counting it would keep slots idle for levels that have nothing.

Under the Weighted policy the next slot goes to the source with the least service in proportion to its weight (stride
scheduling); one that was idle resumes at the clock of those that were not, so idleness saves up no credit. Under Strict
it goes to the highest. A slot that is due to a source whose answer is still out waits for that answer: it takes well
under a millisecond, and handing the slot on would bend the shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heapify, heapreplace

from protoqueue.settings import Consumer


class State(Enum):
    UNKNOWN = auto()
    BUSY = auto()
    EMPTY = auto()


@dataclass
class Source:
    consumer: Consumer
    state: State = State.UNKNOWN
    requested: int = 0
    watched: bool = False
    served: float = 0.0  # tasks received divided by the weight, from a common origin


@dataclass(frozen=True)
class Request:
    """Ask source number `source` for `batch` tasks, at once or, when `watch`, as soon as there is one."""

    source: int
    batch: int
    watch: bool = False


class Allocation:
    """The sources of one worker, highest level first."""

    def __init__(self, consumers: Sequence[Consumer], strict: bool) -> None:
        self.sources = [Source(consumer) for consumer in consumers]
        self._strict = strict
        self._clock = 0.0

    @property
    def requested(self) -> int:
        """How many slots the open requests may still fill."""
        return sum(source.requested for source in self.sources)

    def plan(self, free: int) -> list[Request]:
        """What to ask for now with `free` slots, the requested ones not among them; it counts as asked."""
        wanted: dict[int, int] = {}
        candidates = [n for n, source in enumerate(self.sources) if source.state is not State.EMPTY]
        turns = [(self._service(n, 1), n) for n in (candidates[:1] if self._strict else candidates)]
        heapify(turns)
        while free > 0 and turns:
            number = turns[0][1]
            if self.sources[number].requested:
                break
            share = free if len(turns) == 1 else 1
            wanted[number] = wanted.get(number, 0) + share
            free -= share
            heapreplace(turns, (self._service(number, wanted[number] + 1), number))
        for number, batch in wanted.items():
            self.sources[number].requested = batch
        requests = [Request(number, batch) for number, batch in wanted.items()]
        return requests + (self._watches() if free > 0 else [])

    def _service(self, number: int, more: int) -> float:
        """How well a source is served once it has what was requested of it and `more`."""
        source = self.sources[number]
        return source.served + (source.requested + more) / source.consumer.weight

    def _watches(self) -> list[Request]:
        unwatched = [n for n, s in enumerate(self.sources) if s.state is State.EMPTY and not s.watched]
        for number in unwatched:
            self.sources[number].watched = True
        return [Request(number, 1, watch=True) for number in unwatched]

    def full(self) -> list[int]:
        """There is no slot left: the watched sources, whose requests must be taken back. All are to be asked anew."""
        watched = [number for number, source in enumerate(self.sources) if source.watched]
        for source in self.sources:
            source.watched = False
        self.forget_empty()
        return watched

    def forget_empty(self) -> None:
        """What was found empty and is not watched may have something by the time a slot is free."""
        for source in self.sources:
            if source.state is State.EMPTY and not source.watched:
                self._resume(source, State.UNKNOWN)

    def received(self, number: int, pending: int) -> None:
        """A task came from a source that then held `pending` more."""
        source = self.sources[number]
        source.watched = False
        source.requested = max(0, source.requested - 1)
        source.served += 1 / source.consumer.weight
        self._clock = max(self._clock, source.served)
        if pending or source.requested:
            if source.state is not State.BUSY:
                self._resume(source, State.BUSY)
        else:
            source.state = State.EMPTY

    def ended(self, number: int) -> None:
        """A request to a source ended before it was filled."""
        source = self.sources[number]
        source.requested, source.watched, source.state = 0, False, State.EMPTY

    def reset(self) -> None:
        """All requests are void, as after a reconnect."""
        for source in self.sources:
            source.requested, source.watched = 0, False
            source.state = State.UNKNOWN

    def _resume(self, source: Source, state: State) -> None:
        if source.state is State.EMPTY:
            floor = min((s.served for s in self.sources if s.state is not State.EMPTY), default=self._clock)
            source.served = max(source.served, floor)
        source.state = state

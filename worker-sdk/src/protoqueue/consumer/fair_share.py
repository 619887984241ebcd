"""Which consumers to request tasks from for a worker's free slots. Pure: facts in, requests out.

Each source (a consumer) is in one of three states. UNKNOWN and BUSY ones are asked for as many tasks as there are slots
for them, and answer at once. An EMPTY one is watched with a waiting request for a single task; that request is not
counted, since counting it would keep slots idle for levels without tasks. A level has several sources if its tasks are
in several streams or lanes. Under the Weighted policy the next slot goes to the level with the least service in
proportion to its weight (stride scheduling); one that was idle resumes at the clock of the others, so idle time earns
no credit. Under Strict it goes to the highest level. Within a level it goes, by the same rule, to the source that has
served the fewest tasks. A slot that is due to a source whose answer is pending waits for that answer: it takes well
under a millisecond, and giving the slot to another would distort the shares.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from heapq import heapify, heapreplace

from protoqueue.protocol.config import Consumer

_SOURCES_ASKED = 8
"""In a fair queue free slots are asked from so many lanes at a time, for each request costs as much as some tasks do.
The others are the next to be asked, as they are served less then."""


class State(Enum):
    UNKNOWN = auto()
    BUSY = auto()
    EMPTY = auto()


@dataclass(eq=False)
class Source:
    consumer: Consumer
    level: "_Level"
    state: State = State.UNKNOWN
    requested: int = 0
    watched: bool = False
    served: float = 0.0  # tasks received, from an origin that the sources of a level share


@dataclass(eq=False)
class _Level:
    weight: int
    members: list[int] = field(default_factory=list)
    served: float = 0.0  # tasks received divided by the weight, from a common origin
    clock: float = 0.0  # of the source that has served the most


@dataclass(frozen=True)
class Request:
    """Ask source number `source` for `batch` tasks, at once or, when `watch`, as soon as there is one."""

    source: int
    batch: int
    watch: bool = False


class FairShare:
    """The sources of one worker, highest level first."""

    def __init__(self, consumers: Sequence[Consumer], strict: bool, *, has_lanes: bool = False) -> None:
        """`has_lanes`: sources are many. Empty ones are watched while no slot is free too, not asked over and over."""
        levels: dict[tuple[int, int], _Level] = {}
        self.sources: list[Source] = []
        for number, consumer in enumerate(consumers):
            level = levels.setdefault(consumer.share, _Level(consumer.weight))
            level.members.append(number)
            self.sources.append(Source(consumer, level))
        self._levels = list(levels.values())
        self._strict = strict
        self._has_lanes = has_lanes
        self._clock = 0.0

    @property
    def requested(self) -> int:
        """How many slots the open requests may still fill."""
        return sum(source.requested for source in self.sources)

    def plan(self, free: int) -> list[Request]:
        """What to request now for `free` slots, not counting those already requested; it counts as requested."""
        wanted: dict[int, int] = {}
        active = [(level, members) for level in self._levels if (members := self._active(level))]
        if self._strict:
            active = active[:1]
        requested = [sum(self.sources[n].requested for n in members) for _, members in active]
        turns = [(self._service(level, requested[turn] + 1), turn) for turn, (level, _) in enumerate(active)]
        heapify(turns)
        turn_size = max(1, free // _SOURCES_ASKED) if self._has_lanes else 1
        queues = [self._by_service(members) for _, members in active]
        while free > 0 and turns:
            turn = turns[0][1]
            level, members = active[turn]
            service, number = queues[turn][0]
            if self.sources[number].requested:
                break
            share = free if len(turns) == len(members) == 1 else min(free, turn_size)
            wanted[number] = wanted.get(number, 0) + share
            requested[turn] += share
            free -= share
            heapreplace(queues[turn], (service + share, number))
            heapreplace(turns, (self._service(level, requested[turn] + 1), turn))
        for number, batch in wanted.items():
            self.sources[number].requested = batch
        requests = [Request(number, batch) for number, batch in wanted.items()]
        return requests + (self._watches() if free > 0 or self._has_lanes else [])

    def _active(self, level: _Level) -> list[int]:
        return [n for n in level.members if self.sources[n].state is not State.EMPTY]

    def _service(self, level: _Level, more: int) -> float:
        """A level's service once it has received so many more tasks."""
        return level.served + more / level.weight

    def _by_service(self, members: Iterable[int]) -> list[tuple[float, int]]:
        """A heap, the source that has served the fewest first."""
        queue = [(self.sources[n].served + self.sources[n].requested, n) for n in members]
        heapify(queue)
        return queue

    def _watches(self) -> list[Request]:
        unwatched = [n for n, s in enumerate(self.sources) if s.state is State.EMPTY and not s.watched]
        for number in unwatched:
            self.sources[number].watched = True
        return [Request(number, 1, watch=True) for number in unwatched]

    def full(self) -> list[int]:
        """No slot is left: returns the watched sources, whose requests must be withdrawn. All are to be asked again."""
        watched = [number for number, source in enumerate(self.sources) if source.watched]
        for source in self.sources:
            source.watched = False
        self.forget_empty()
        return watched

    def forget_empty(self, *, watched: bool = False) -> None:
        """Sources found empty, watched or not, may have tasks by the time a slot is free."""
        for source in self.sources:
            if source.state is State.EMPTY and (watched or not source.watched):
                self._resume(source, State.UNKNOWN)

    def received(self, number: int, pending: int) -> None:
        """A task arrived from a source that had `pending` more."""
        source = self.sources[number]
        level = source.level
        source.watched = False
        source.requested = max(0, source.requested - 1)
        source.served += 1
        level.clock = max(level.clock, source.served)
        level.served += 1 / level.weight
        self._clock = max(self._clock, level.served)
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
            level = source.level
            if not (others := self._active(level)):
                floor = min((each.served for each in self._levels if self._active(each)), default=self._clock)
                level.served = max(level.served, floor)
            floor = min((self.sources[n].served for n in others), default=level.clock)
            source.served = max(source.served, floor)
        source.state = state

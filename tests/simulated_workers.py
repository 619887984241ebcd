"""Workers of a group as pods that take time to start, and the tasks they work on, in simulated time.

Deterministic: what happens is decided by the tasks given, the sizes asked for, and nothing else.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf


@dataclass(frozen=True, order=True)
class Task:
    arrives_s: float
    takes_s: float


@dataclass(eq=False)
class Pod:
    created_s: float
    ready_s: float
    """Infinite for a pod that never gets ready."""
    running: int = 0
    is_leaving: bool = False
    """Takes no more tasks, and ends with its last one."""


@dataclass
class Workers:
    """One group: first come, first served, each pod with so many `slots`.

    With `crashes`, pods are ready for a second once in a while, and never take a task.
    """

    tasks: Iterable[Task]
    start_s: float = 2.0
    slots: int = 1
    crashes: bool = False
    now_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    pod_seconds: float = 0.0
    stored: int = 0
    delivered: int = 0

    def __post_init__(self) -> None:
        self._coming = deque(sorted(self.tasks))
        self._waiting: deque[Task] = deque()
        self._pods: list[Pod] = []
        self._ends: list[tuple[float, int, Pod]] = []
        self._starts: list[float] = []
        self._numbers = itertools.count()

    @property
    def size(self) -> int:
        return sum(not pod.is_leaving for pod in self._pods)

    @property
    def available(self) -> int:
        return sum(not pod.is_leaving and self._is_ready(pod) for pod in self._pods)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._ends)

    @property
    def next_arrival_s(self) -> float:
        return self._coming[0].arrives_s if self._coming else inf

    @property
    def is_over(self) -> bool:
        return not (self._coming or self._waiting or self._ends)

    def resize(self, size: int) -> None:
        """Those that are not ready go first, then the idle ones, as a ReplicaSet chooses by deletion cost."""
        for _ in range(size - self.size):
            ready_s = inf if self.crashes else self.now_s + self.start_s
            self._pods.append(Pod(self.now_s, ready_s))
            if not self.crashes:
                heapq.heappush(self._starts, ready_s)
        staying = [pod for pod in self._pods if not pod.is_leaving]
        staying.sort(key=lambda pod: (self._is_ready(pod), pod.running, -pod.created_s))
        for pod in staying[: max(0, len(staying) - size)]:
            pod.is_leaving = True
            if not pod.running:
                self._pods.remove(pod)
        self._begin()

    def mend(self) -> None:
        """From now on no pod crashes any more."""
        self.crashes = False
        for pod in self._pods:
            pod.ready_s = self.now_s + 1
            heapq.heappush(self._starts, pod.ready_s)

    def advance(self, until_s: float) -> None:
        """Let everything happen that happens until then."""
        while (at_s := self._next_s()) <= until_s:
            self._pass(at_s)
            while self._coming and self._coming[0].arrives_s <= at_s:
                self._waiting.append(self._coming.popleft())
                self.stored += 1
            while self._starts and self._starts[0] <= at_s:
                heapq.heappop(self._starts)
            while self._ends and self._ends[0][0] <= at_s:
                _, _, pod = heapq.heappop(self._ends)
                pod.running -= 1
                if pod.is_leaving and not pod.running:
                    self._pods.remove(pod)
            self._begin()
        self._pass(until_s)

    def _next_s(self) -> float:
        return min(
            self.next_arrival_s,
            self._starts[0] if self._starts else inf,
            self._ends[0][0] if self._ends else inf,
        )

    def _pass(self, to_s: float) -> None:
        self.pod_seconds += len(self._pods) * max(0.0, to_s - self.now_s)
        self.now_s = max(self.now_s, to_s)

    def _begin(self) -> None:
        for pod in self._free():
            while pod.running < self.slots and self._waiting:
                task = self._waiting.popleft()
                pod.running += 1
                self.delivered += 1
                self.waits_s.append(self.now_s - task.arrives_s)
                heapq.heappush(self._ends, (self.now_s + task.takes_s, next(self._numbers), pod))

    def _free(self) -> Iterator[Pod]:
        """The pods that would take a task, as long as one waits."""
        for pod in self._pods:
            if not self._waiting:
                return
            if not pod.is_leaving and not self.crashes and pod.running < self.slots and self._is_ready(pod):
                yield pod

    def _is_ready(self, pod: Pod) -> bool:
        age_s = self.now_s - pod.created_s
        if self.crashes:
            return age_s >= self.start_s and age_s % 20 < 1
        return pod.ready_s <= self.now_s


def clairvoyant(tasks: list[Task], slots: int, longest_wait_s: float) -> int:
    """The smallest constant size, there from the beginning, with which no task waits longer than that."""
    until_s = tasks[-1].arrives_s
    for size in itertools.count(1):
        workers = Workers(tasks, start_s=0.0, slots=slots)
        workers.resize(size)
        workers.advance(until_s + longest_wait_s)
        if max(workers.waits_s) <= longest_wait_s and not workers.waiting:
            return size
    raise AssertionError("unreachable")


def all_or_none(tasks: list[Task], start_s: float, size: int, idle_s: float, until_s: float) -> Workers:
    """What the most workers there may be can do at best: all come at once, and all go when nothing is left for long."""
    workers, busy_s = Workers(tasks, start_s=start_s), 0.0
    while workers.now_s < until_s:
        workers.advance(min(max(workers.now_s + 1, 0 if workers.size else workers.next_arrival_s), until_s))
        if workers.waiting or workers.in_flight:
            workers.resize(size)
            busy_s = workers.now_s
        elif workers.now_s - busy_s >= idle_s:
            workers.resize(0)
    return workers


WINDOW_S = 10.0


def share_in_time(tasks: list[Task], waits_s: list[float], max_wait_s: float, until_s: float) -> float:
    """The share of windows of ten seconds in which no task that waits is older than that.

    `waits_s` are those of the tasks that were started, in the order in which they came.
    """
    late: set[int] = set()
    arrivals = (task.arrives_s for task in sorted(tasks))
    for arrives_s, wait_s in itertools.zip_longest(arrivals, waits_s, fillvalue=inf):
        begins, ends = arrives_s + max_wait_s, min(arrives_s + wait_s, until_s)
        if begins < ends:
            late.update(range(int(begins // WINDOW_S), ceil(ends / WINDOW_S)))
    return 1 - len(late) / ceil(until_s / WINDOW_S)

"""One look at a queue, and what is found in it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from protoqueue.admin.inspection import BusyPartition
from protoqueue.admin.samples import QueueSamples
from protoqueue.admin.stats import GroupStats, QueueStats
from protoqueue.diagnosis.resources import Pod, Resource
from protoqueue.protocol.config import RateLimit
from protoqueue.protocol.worker_status import WorkerStatus

RECENT_S = 600.0
_LEAST_SAMPLES = 6


_COMMAND = re.compile(r"(?:(.*): )?((?:kubectl|protoqueue|tail) .+)")


_NO_FAILURES = frozenset(
    {
        "Paused", "Throttled", "RateLimited", "AtMaximum", "InFlightLimited", "ScaleUpLimited", "BelowActivation",
        "DeadLetters", "NotForwarded",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """Something to do: in words, as a command that can be copied, or in words with the command at the end."""

    words: str
    command: str = ""

    @classmethod
    def read(cls, text: str) -> "Step":
        match = _COMMAND.fullmatch(text)
        return cls(match[1] or "", match[2]) if match else cls(text)


@dataclass(frozen=True)
class Finding:
    """What is wrong or worth knowing, and what to do about it. `cause` is a word for programs."""

    cause: str
    what: str
    todo: str
    """Steps, divided by `; `; where one has a command, it stands at the end."""

    @property
    def is_failure(self) -> bool:
        """Whether something is broken, rather than held back on purpose or left over."""
        return self.cause not in _NO_FAILURES

    @property
    def steps(self) -> list[Step]:
        return [Step.read(text) for text in self.todo.split("; ")]


def counted(number: int, one: str, verbs: tuple[str, str] | None = None) -> str:
    """`1 task`, `2 tasks`; with verbs, `1 task is` and `2 tasks are`."""
    noun = one if number == 1 else f"{one}s"
    return f"{number} {noun}" + (f" {verbs[number != 1]}" if verbs else "")


@dataclass(frozen=True)
class Group:
    """A consumer group: what JetStream counts, which workers answered, its resource and its pods."""

    name: str
    stats: GroupStats = field(default_factory=GroupStats)
    workers: Sequence[WorkerStatus] = ()
    resource: Resource | None = None
    pods: Sequence[Pod] = ()
    knows_pods: bool = True
    """Whether they could be asked: else the group's condition has to tell what they say."""
    redelivered: int = 0
    """Tasks in flight that were with a worker before, which died or did not extend their lease."""
    rate_limit: RateLimit | None = None
    available: int | None = None
    """Workers that are available, as a gateway tells it; None: it tells nothing."""
    is_asked: bool = True
    """Whether the workers were asked to answer."""

    @property
    def running(self) -> int:
        return sum(worker.running for worker in self.workers)


def mean_rates(samples: QueueSamples | None) -> tuple[float, float] | None:
    """Arrivals and completions per second; None where too little was measured to tell."""
    if samples is None or len(samples.samples) < _LEAST_SAMPLES:
        return None
    seconds = len(samples.samples) * samples.step.total_seconds()
    arrivals = sum(sample.arrivals for sample in samples.samples)
    return arrivals / seconds, sum(sample.completions for sample in samples.samples) / seconds


@dataclass(frozen=True)
class Facts:
    """Rates are tasks per second between two looks. `letters` are dead letters by cause, the most frequent first."""

    name: str
    now: datetime
    stats: QueueStats | None
    """None where NATS could not be asked, or has no such queue."""
    groups: Sequence[Group] = ()
    resource: Resource | None = None
    arrivals_per_s: float = 0.0
    completions_per_s: float = 0.0
    recent: tuple[float, float] | None = None
    """The same two rates over the last `RECENT_S`, where the operator has kept them."""
    rate_limit: RateLimit | None = None
    partitions: Sequence[BusyPartition] = ()
    letters: Sequence[Mapping[str, Any]] = ()
    dead_letter_queue: str | None = None
    """Where what dies is to become a task."""
    nats_problem: str = ""
    """Why NATS could not be asked."""
    nats_setting: str = "PROTOQUEUE_NATS_URL, or --nats,"
    """What says where NATS is."""
    kubernetes_problem: str = ""
    """Why Kubernetes could not be asked."""

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    @property
    def paused(self) -> bool:
        return (self.stats is not None and self.stats.paused) or (self.resource is not None and self.resource.paused)

"""State kept for a group between two evaluations; all of it can be lost without harm."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from protoqueue.protocol.throttle import ThrottledUntil
from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.availability import Availability
from protoqueue_operator.autoscaling.decision import History
from protoqueue_operator.autoscaling.load import Rates
from protoqueue_operator.jetstream.assets import Consumer


@dataclass(frozen=True)
class LastApplied:
    """A group as it was last applied: the basis of sampling and scaling."""

    spec: ConsumerGroupSpec
    consumers: tuple[Consumer, ...]
    paused: bool
    is_ordered: bool = False
    generation: int | None = None
    """Of the group when it was applied; None: its present one."""


@dataclass(frozen=True)
class ObservedScale:
    """What the scale subresource of a scaleTargetRef said."""

    target: ScaleTarget
    replicas: int | None = None
    """None where it could not be read."""
    trouble: str | None = None
    """Why not, if retrying would not help until something is changed."""
    observed: int = 0
    selector: str | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the API server answered at all, also that it does not exist or may not be read."""
        return self.replicas is not None or self.trouble is not None


@dataclass(frozen=True)
class Size:
    """How many workers are wanted, and how many exist."""

    wanted: int
    observed: int
    available: int | None
    """How many of them are ready; None if unknown."""
    selector: str | None
    is_own: bool = False
    """Whether it is a Deployment that the operator created for the group."""

    @property
    def ready(self) -> int:
        """As far as known."""
        return self.observed if self.available is None else self.available


@dataclass
class GroupState:
    uid: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the size or the Deployment of the group is read and written."""
    last_applied: LastApplied | None = None
    scale: ObservedScale | None = None
    refused_at: float | None = None
    """When, in monotonic seconds, a size was last refused."""
    history: History = field(default_factory=History)
    resized: Condition | None = None
    """The message about the last change of size, which takes precedence until the status has shown it."""
    rates: Rates | None = None
    available: int | None = None
    """Pods of a scale target that were ready when they were last listed, at `pods_at` in monotonic seconds."""
    pods_at: float | None = None
    pods_error: str = ""
    """Why they could not be listed, as it was last logged."""
    written: int | None = None
    """The last size known to the operator: another writer that changes it contends with the operator."""
    attempted: int | None = None
    """The size it last requested, also if no answer came."""
    contender: str = ""
    """Who wrote another size, as noticed at `contended_at` in monotonic seconds; empty if nobody did."""
    contended_at: float = 0.0
    contention_told: bool = False
    availability: Availability = field(default_factory=Availability)
    failure: str = ""
    """Why no worker is available although there is work, as found at `failure_at`; empty if all is well."""
    failure_at: float = 0.0
    is_refused: bool = False
    """Whether the present specification is refused: what was last applied is then an earlier one."""
    wish: int | None = None
    """How many workers it wants itself; None while that is not known."""
    throttle: ThrottledUntil | None = None
    """While a handler keeps the group from starting tasks."""
    is_counted: bool = False
    """Whether its consumers' counters have been read and kept: arrivals and completions are counted from then on."""
    is_settled: bool = False
    """Empty and at its smallest size: nothing to decide until that changes."""


class GroupStates:
    """By group; a new one for a group that was recreated under the same name."""

    def __init__(self) -> None:
        self._states: dict[Key, GroupState] = {}

    def of(self, group: Group) -> GroupState:
        key, uid = group.meta.key, group.meta.uid
        state = self._states.get(key)
        if state is None or state.uid != uid:
            state = self._states[key] = GroupState(uid)
        return state

    def forget(self, key: Key) -> None:
        self._states.pop(key, None)

    def keep_only(self, keys: Collection[Key]) -> None:
        """Forget groups that are gone."""
        for key in self._states.keys() - set(keys):
            del self._states[key]

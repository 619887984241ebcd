"""Everything a reconcile needs, in one value."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from protoqueue_operator.adapters.kubernetes import Kubernetes
from protoqueue_operator.core.assets import Consumer, Stream
from protoqueue_operator.core.autoscale import History
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.core.credentials import Credentials
from protoqueue_operator.core.load import Rates
from protoqueue_operator.core.resources import Key
from protoqueue_operator.core.yielding import Yielded
from protoqueue_operator.reconcile.brokers import Brokers
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.reporting import Reporter
from protoqueue_operator.reconcile.tenure import Tenure

DEFAULT_SYNC_PERIOD_S = 120.0
DEFAULT_TARGET_PERIOD_S = 10.0


@dataclass(frozen=True)
class Established:
    """A group as it was last brought into being: what sampling and scaling go by."""

    spec: ConsumerGroupSpec
    consumers: tuple[Consumer, ...]
    paused: bool


@dataclass(frozen=True)
class ScaleSeen:
    """What the scale subresource of a scaleTargetRef said."""

    target: ScaleTarget
    replicas: int | None = None
    """None where it could not be read."""
    trouble: str | None = None
    """Why, where asking again would not help until somebody changes something."""
    observed: int = 0
    selector: str | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the API server said anything of it: that it is not there, or may not be read, too."""
        return self.replicas is not None or self.trouble is not None


@dataclass
class GroupState:
    """What the operator remembers of a group between two looks at it; all of it can be lost without harm."""

    uid: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the size or the Deployment of the group is read and written."""
    established: Established | None = None
    scale: ScaleSeen | None = None
    refused_at: float | None = None
    """When, in monotonic seconds, a size was last refused."""
    history: History = field(default_factory=History)
    resized: Condition | None = None
    """What is to be said of the last change of size before anything else, until the status has shown it."""
    rates: Rates | None = None
    resting: bool = False
    """Empty and at its smallest size: nothing to decide until that changes."""


@dataclass(frozen=True)
class Settings:
    credentials: Credentials
    """Of the operator's own NATS connection, when it starts."""
    worker_nats_url: str | None = None
    """What is injected into workers' containers; None: the operator's own."""
    read_credentials: Callable[[], Credentials] | None = None
    """What they are now, where they may change; raises SecretInvalid and OSError."""
    monitoring_url: str | None = None
    """Where probes are answered, such as http://0.0.0.0:8080/healthz; metrics are beside it."""
    lease: Key | None = None
    """The Lease that replicas contend for; None where there is only one."""
    identity: str = ""
    namespaces: tuple[str, ...] = ()
    """What is watched; none: all."""
    sync_period_s: float = DEFAULT_SYNC_PERIOD_S
    """How often what the watches brought is compared with a listing."""
    target_period_s: float = DEFAULT_TARGET_PERIOD_S
    """How often the size of each scaleTargetRef is asked for."""


@dataclass
class Runtime:
    settings: Settings
    kubernetes: Kubernetes
    brokers: Brokers
    cache: Cache
    reporter: Reporter
    now: Callable[[], datetime]
    groups: dict[Key, GroupState] = field(default_factory=dict)
    streams: dict[Key, tuple[Stream, ...]] = field(default_factory=dict)
    """Of each queue that was brought into being, what its streams are to be."""
    yielded: dict[Key, Yielded] = field(default_factory=dict)
    """Of each queue whose streams another cluster has taken."""
    tenure: Tenure = field(default_factory=Tenure)

    def state_of(self, key: Key, uid: str) -> GroupState:
        """The group's memory; a fresh one for a group that was made anew under the same name."""
        state = self.groups.get(key)
        if state is None or state.uid != uid:
            state = self.groups[key] = GroupState(uid)
        return state

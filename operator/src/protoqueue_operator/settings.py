"""Settings from the command line and the environment."""

from collections.abc import Callable
from dataclasses import dataclass

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.nats.credentials import Credentials

DEFAULT_SYNC_PERIOD_S = 120.0
DEFAULT_TARGET_PERIOD_S = 10.0


@dataclass(frozen=True)
class Settings:
    credentials: Credentials
    """The credentials of the operator's own NATS connection at its start."""
    worker_nats_url: str | None = None
    """The URL injected into workers' containers; None: the operator's own."""
    read_credentials: Callable[[], Credentials] | None = None
    """Reads the current ones, if they may change; raises SecretInvalid and OSError."""
    monitoring_url: str | None = None
    """Where probes are answered, such as http://0.0.0.0:8080/healthz; metrics are beside it."""
    lease: Key | None = None
    """The Lease that replicas contend for; None for a single replica."""
    identity: str = ""
    namespaces: tuple[str, ...] = ()
    """The watched namespaces; none: all."""
    max_bytes_per_namespace: int | None = None
    """How much the Queues of a namespace may reserve together in the operator's own NATS; None: no limit."""
    sync_period_s: float = DEFAULT_SYNC_PERIOD_S
    """How often the watches are compared with a listing."""
    target_period_s: float = DEFAULT_TARGET_PERIOD_S
    """How often the size of each scaleTargetRef is read."""

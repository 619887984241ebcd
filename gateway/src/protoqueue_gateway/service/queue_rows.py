"""A queue's row in a list, from its state in Kubernetes and JetStream. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from protoqueue import QueueOverview
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import Json
from protoqueue_gateway.service.conditions import condition_of, ready_condition


class Health(StrEnum):
    """Whether a queue needs attention."""

    READY = "ready"
    PAUSED = "paused"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True)
class QueueRow:
    """Counts are None where neither NATS nor the status has them yet; rates are tasks per second.

    `available` and `desired` are sums over the groups that have workers of ours, None without one.
    """

    name: QueueName
    waiting: int | None
    in_flight: int | None
    scheduled: int | None
    dead: int | None
    oldest_at: datetime | None
    arrivals: float | None
    completions: float | None
    available: int | None
    desired: int | None
    health: Health
    reason: str
    message: str


def queue_row(
    name: QueueName, body: Json, groups: Sequence[Json], found: QueueOverview | None, arrivals: float | None,
    completions: float | None,
) -> QueueRow:  # fmt: skip
    """Where NATS has `found` none, as of a queue in another account, its status has counts that are seconds old."""
    status = body.get("status") or {}
    tasks = status.get("tasks") or {}
    workers = [group for group in groups if has_workers(group)]
    stats = found.stats if found else None
    waiting = stats.waiting if stats else tasks.get("waiting")
    health, reason, message = _health(body, groups, waiting or 0)
    return QueueRow(
        name=name,
        waiting=waiting,
        in_flight=stats.in_flight if stats else tasks.get("inFlight"),
        scheduled=stats.scheduled if stats else tasks.get("scheduled"),
        dead=stats.dead if stats else tasks.get("dead"),
        oldest_at=found.oldest_at if found else moment(status.get("oldestTaskTime")),
        arrivals=_rounded(arrivals),
        completions=_rounded(completions),
        available=_sum(workers, "availableReplicas"),
        desired=_sum(workers, "desiredReplicas"),
        health=health,
        reason=reason,
        message=message,
    )


def has_workers(group: Json) -> bool:
    """Whether the operator runs or scales workers for it."""
    spec = group.get("spec") or {}
    return any(field in spec for field in ("worker", "replicas", "autoscale"))


def queue_of(group: Json) -> str:
    """The name of the Queue that a ConsumerGroup belongs to, in its namespace."""
    return str(((group.get("spec") or {}).get("queueRef") or {}).get("name", ""))


def moment(text: Any) -> datetime | None:
    """A time as Kubernetes writes it."""
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _sum(groups: Sequence[Json], field: str) -> int | None:
    numbers = [(group.get("status") or {}).get(field) for group in groups]
    known = [number for number in numbers if isinstance(number, int)]
    return sum(known) if known else None


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1 if rate < 100 else 0)


def _health(body: Json, groups: Sequence[Json], waiting: int) -> tuple[Health, str, str]:
    """The condition of the queue; if that is Ready, of the first group that is not, or that makes no progress."""
    if body["metadata"].get("deletionTimestamp"):
        return Health.PENDING, "Deleting", "the queue is being deleted"
    found = health_of(ready_condition(body))
    if found[0] in (Health.READY, Health.PAUSED):
        for group in groups:
            health, reason, message = health_of(ready_condition(group))
            if health not in (Health.READY, Health.PAUSED):
                return health, reason, f"group {group['metadata']['name']}: {message}"
    if found[0] is Health.READY:
        if waiting and not groups:
            return Health.PENDING, "NoGroup", "the queue has no consumer group"
        return next(filter(None, (_held(group) for group in groups)), found)
    return found


def _held(group: Json) -> tuple[Health, str, str] | None:
    """What keeps a group that is Ready from its tasks, if anything does."""
    name = group["metadata"]["name"]
    health, reason, message = health_of(ready_condition(group))
    if health is Health.PAUSED:
        return health, reason, f"group {name}: {message}"
    throttled, scaling = condition_of(group, "Throttled"), condition_of(group, "Scaling")
    if throttled.get("status") == "True":
        return Health.PENDING, "Throttled", f"group {name}: {throttled.get('message', '')}"
    if scaling.get("reason") == "AtMaximum":
        return Health.PENDING, "AtMaximum", f"group {name}: {scaling.get('message', '')}"
    return None


def health_of(condition: Json) -> tuple[Health, str, str]:
    """What a Ready condition means, its reason and its message."""
    reason, message = str(condition.get("reason", "Pending")), str(condition.get("message", ""))
    if condition.get("status") == "True":
        return Health.PAUSED if reason == "Paused" else Health.READY, reason, message
    return Health.FAILED if condition.get("status") == "False" else Health.PENDING, reason, message

"""One queue in detail: its groups with the workers that answer, schedules, settings and events."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protoqueue import GroupStats, WorkerStatus
from protoqueue.diagnosis.facts import Finding
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import EVENTS, Json, Kubernetes
from protoqueue_gateway.kubernetes.errors import KubernetesError
from protoqueue_gateway.service.conditions import Notice, condition_of, notices_of, ready_condition
from protoqueue_gateway.service.diagnosis import Diagnosis
from protoqueue_gateway.service.errors import NoSuchQueue
from protoqueue_gateway.service.fresh import Fresh
from protoqueue_gateway.service.live_queues import LiveQueues
from protoqueue_gateway.service.queue_rows import Health, QueueRow, has_workers, health_of, moment

_EVENTS_S = 5.0
_MOST_EVENTS = 50


@dataclass(frozen=True)
class WorkerView:
    """A worker that answers: where it runs, and how many tasks it runs."""

    host: str
    running: int


@dataclass(frozen=True)
class GroupView:
    """A ConsumerGroup as it is now. `scaling` says why there are as many workers as there are."""

    name: str
    waiting: int
    in_flight: int
    levels: tuple[tuple[int, int], ...]
    paused: bool
    available: int | None
    desired: int | None
    health: Health
    reason: str
    message: str
    scaling: str
    notices: tuple[Notice, ...]
    workers: tuple[WorkerView, ...]


@dataclass(frozen=True)
class ScheduleView:
    """When a schedule fires. `next_at` is None where only the server knows, as of `every`."""

    name: str
    when: str
    time_zone: str
    type: str
    next_at: datetime | None
    is_suspended: bool = False
    options: str = ""
    """How its firings are treated, such as `jitter 30s, expires 1h`."""


@dataclass(frozen=True)
class EventView:
    at: datetime | None
    kind: str
    name: str
    is_warning: bool
    reason: str
    message: str
    count: int


@dataclass(frozen=True)
class QueueDetails:
    row: QueueRow
    findings: tuple[Finding, ...]
    """What holds it up, the most serious first."""
    spec: Json
    conditions: tuple[tuple[str, str, str, str], ...]
    """Type, status, reason, message."""
    notices: tuple[Notice, ...]
    groups: tuple[GroupView, ...]
    schedules: tuple[ScheduleView, ...]
    events: tuple[EventView, ...]

    @property
    def is_paused(self) -> bool:
        return bool(self.spec.get("paused"))


class Details:
    """Every method raises NoSuchQueue and Away. To be used within `LiveQueues.watching`."""

    def __init__(self, kubernetes: Kubernetes, diagnosis: Diagnosis, live: LiveQueues) -> None:
        self._kubernetes = kubernetes
        self._diagnosis = diagnosis
        self._live = live
        self._events = Fresh(self._ask_events, _EVENTS_S)

    async def look(self, name: QueueName) -> QueueDetails:
        found = self._live.find(name)
        if found is None:
            raise NoSuchQueue(f"there is no queue {name}")
        groups = [str(group["metadata"]["name"]) for group in found.groups]
        diagnosed, events = await asyncio.gather(
            self._diagnosis.of(name, found), self._events.get((name, tuple(groups)))
        )
        stats = found.stats.groups if found.stats else {}
        return QueueDetails(
            row=found.row,
            findings=diagnosed.findings,
            spec=dict(found.body.get("spec") or {}),
            conditions=tuple(
                tuple(str(each.get(field, "")) for field in ("type", "status", "reason", "message"))  # type: ignore[misc]
                for each in (found.body.get("status") or {}).get("conditions") or []
            ),
            notices=notices_of(found.body),
            groups=tuple(
                _group(body, stats.get(group), diagnosed.workers.get(group, ()))
                for body, group in zip(found.groups, groups, strict=True)
            ),
            schedules=tuple(_schedules(found.body)),
            events=events,
        )

    async def _ask_events(self, key: tuple[QueueName, Sequence[str]]) -> tuple[EventView, ...]:
        """The newest first; none where the gateway may not list them."""
        queue, groups = key
        wanted = [("Queue", queue.name), *(("ConsumerGroup", group) for group in groups)]
        try:
            found = await asyncio.gather(
                *(
                    self._kubernetes.objects(
                        EVENTS,
                        queue.namespace,
                        fields={"involvedObject.kind": kind, "involvedObject.name": name},
                    )
                    for kind, name in wanted
                )
            )
        except KubernetesError:
            return ()
        events = sorted((_event(body) for each in found for body in each), key=_when, reverse=True)
        return tuple(events[:_MOST_EVENTS])


def _group(body: Json, stats: GroupStats | None, workers: Sequence[WorkerStatus]) -> GroupView:
    status, spec = body.get("status") or {}, body.get("spec") or {}
    tasks = status.get("tasks") or {}
    health, reason, message = health_of(ready_condition(body))
    ours = has_workers(body)
    return GroupView(
        name=str(body["metadata"]["name"]),
        waiting=stats.waiting if stats else tasks.get("waiting", 0),
        in_flight=stats.in_flight if stats else tasks.get("inFlight", 0),
        levels=tuple(stats.levels.items()) if stats else (),
        paused=bool(spec.get("paused")) or bool(stats and stats.paused),
        available=status.get("availableReplicas") if ours else None,
        desired=status.get("desiredReplicas") if ours else None,
        health=health,
        reason=reason,
        message=message,
        scaling=str(condition_of(body, "Scaling").get("message", "")),
        notices=notices_of(body),
        workers=tuple(WorkerView(each.host, each.running) for each in workers),
    )


def _schedules(body: Json) -> list[ScheduleView]:
    status = {
        each.get("name"): moment(each.get("nextTime")) for each in (body.get("status") or {}).get("schedules") or []
    }
    return [
        ScheduleView(
            name=str(each.get("name", "")),
            when=str(each.get("cron") or f"every {each.get('every', '')}"),
            time_zone=str(each.get("timeZone") or "UTC"),
            type=str(each.get("type", "")),
            next_at=status.get(each.get("name")),
            is_suspended=each.get("suspend") is True,
            options=", ".join(_firing_options(each)),
        )
        for each in (body.get("spec") or {}).get("schedules") or []
    ]


def _firing_options(schedule: Json) -> list[str]:
    skips = ["skips overlaps"] if schedule.get("overlap") == "Skip" else []
    return skips + [f"{name} {schedule[name]}" for name in ("jitter", "expires") if schedule.get(name)]


def _event(body: Json) -> EventView:
    about: dict[str, Any] = body.get("involvedObject") or {}
    series: dict[str, Any] = body.get("series") or {}
    at = series.get("lastObservedTime") or body.get("lastTimestamp") or body.get("eventTime")
    return EventView(
        at=moment(at or body["metadata"].get("creationTimestamp")),
        kind=str(about.get("kind", "")),
        name=str(about.get("name", "")),
        is_warning=body.get("type") == "Warning",
        reason=str(body.get("reason", "")),
        message=str(body.get("message", "")),
        count=int(series.get("count") or body.get("count") or 1),
    )


def _when(event: EventView) -> float:
    return event.at.timestamp() if event.at else 0.0

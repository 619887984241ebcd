"""Redrives: resources by which the operator puts many dead letters back."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.kubernetes.client import REDRIVES, Json, Kubernetes
from protoqueue_gateway.kubernetes.errors import ObjectExists, ObjectInvalid, ObjectNotFound
from protoqueue_gateway.service.conditions import condition_of
from protoqueue_gateway.service.errors import Invalid, NoSuchRedrive
from protoqueue_gateway.service.letters import LetterFilter
from protoqueue_gateway.service.queue_rows import moment, queue_of
from protoqueue_gateway.service.queues import MADE_BY

KEPT_FOR = "1h"
"""How long a finished one that was started here can be looked at."""
_LONGEST_PREFIX = 46
_PERIOD_S = 1000
"""In which a rate of fractions is stated: the pace is even whatever the period is."""


@dataclass(frozen=True)
class NewRedrive:
    """Which letters are to be put back, as a Redrive states it; None and nothing: any."""

    group: str | None = None
    reasons: Sequence[str] = ()
    types: Sequence[str] = ()
    error_types: Sequence[str] = ()
    failed_after: datetime | None = None
    failed_before: datetime | None = None
    rate: float | None = None
    """How many a second, at most."""
    limit: int | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class RedriveView:
    """Counts are None until the operator has counted the letters."""

    name: str
    state: str
    """The reason of its condition Progressing: what it does, waits for, or how it has ended."""
    matched: int | None
    moved: int | None
    remaining: int | None
    failed: int | None
    limit: int | None
    is_suspended: bool
    is_finished: bool
    has_failed: bool
    message: str
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    is_dry_run: bool

    @property
    def wanted(self) -> int:
        """How many are to be moved in all."""
        matched = self.matched or 0
        return matched if self.limit is None else min(matched, self.limit)


class Redrives:
    """Every method raises KubernetesError."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes

    async def start(self, queue: QueueName, wanted: LetterFilter, rate: int | None, limit: int | None) -> str:
        """Have the letters that match put back, at most `rate` per second; its name. Raises Invalid."""
        stated = NewRedrive(
            group=wanted.group,
            reasons=_listed(wanted.reason),
            types=_listed(wanted.type),
            error_types=_listed(wanted.error_type),
            rate=rate,
            limit=limit,
        )
        return (await self.create(queue, stated)).name

    async def create(self, queue: QueueName, wanted: NewRedrive, key: str | None = None) -> RedriveView:
        """Have letters put back; with a `key`, what was asked for with the same one before. Raises Invalid."""
        unique = secrets.token_hex(4) if key is None else hashlib.sha256(f"{queue} {key}".encode()).hexdigest()[:16]
        name = f"{queue.name[:_LONGEST_PREFIX]}-{unique}"
        body: Json = {
            "apiVersion": "protoqueue.dev/v1alpha1", "kind": "Redrive",
            "metadata": {"name": name, "namespace": queue.namespace, "labels": dict(MADE_BY)},
            "spec": _spec(queue, wanted),
        }  # fmt: skip
        try:
            return _view(await self._kubernetes.create(REDRIVES, body))
        except ObjectExists:
            return await self.get(queue, name)
        except ObjectInvalid as error:
            raise Invalid(str(error)) from error

    async def get(self, queue: QueueName, name: str) -> RedriveView:
        """Raises NoSuchRedrive."""
        return _view(await self._of_queue(queue, name))

    async def _of_queue(self, queue: QueueName, name: str) -> Json:
        try:
            body = await self._kubernetes.get(REDRIVES, name, queue.namespace)
        except ObjectNotFound:
            raise NoSuchRedrive(f"queue {queue} has no redrive {name} any more") from None
        if queue_of(body) != queue.name:
            raise NoSuchRedrive(f"queue {queue} has no redrive {name}")
        return body

    async def list_of(self, queue: QueueName) -> Sequence[RedriveView]:
        """Those of a queue, the newest first."""
        found = await self._kubernetes.objects(REDRIVES, queue.namespace)
        views = [_view(body) for body in found if queue_of(body) == queue.name]
        return sorted(views, key=lambda view: view.created_at.timestamp() if view.created_at else 0.0, reverse=True)

    async def suspend(self, queue: QueueName, name: str, *, suspended: bool) -> None:
        """Raises NoSuchRedrive."""
        await self._of_queue(queue, name)
        await self._kubernetes.merge(REDRIVES, name, {"spec": {"suspend": suspended}}, queue.namespace)

    async def stop(self, queue: QueueName, name: str) -> None:
        """What was moved stays moved. Raises NoSuchRedrive."""
        await self._of_queue(queue, name)
        await self._kubernetes.delete(REDRIVES, name, queue.namespace)


def _spec(queue: QueueName, wanted: NewRedrive) -> Json:
    times = {"failedAfter": wanted.failed_after, "failedBefore": wanted.failed_before}
    selection: Json = {name: time.isoformat() for name, time in times.items() if time is not None}
    lists = {"reasons": wanted.reasons, "types": wanted.types, "errorTypes": wanted.error_types}
    selection |= {name: list(values) for name, values in lists.items() if values}
    spec: Json = {"queueRef": {"name": queue.name}, "ttlAfterFinished": KEPT_FOR, "dryRun": wanted.dry_run}
    if wanted.group is not None:
        spec["group"] = wanted.group
    if selection:
        spec["filter"] = selection
    if wanted.rate is not None:
        spec["rate"] = _rate(wanted.rate)
    if wanted.limit is not None:
        spec["limit"] = wanted.limit
    return spec


def _rate(per_second: float) -> Json:
    """Whole tasks of a period: a resource knows no fractions."""
    if float(per_second).is_integer():
        return {"tasks": int(per_second), "per": "1s"}
    return {"tasks": max(1, round(per_second * _PERIOD_S)), "per": f"{_PERIOD_S}s"}


def _listed(text: str | None) -> Sequence[str]:
    return () if text is None else (text,)


def _view(body: Json) -> RedriveView:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    failed = condition_of(body, "Failed")
    told = failed if failed.get("status") == "True" else condition_of(body, "Progressing")
    return RedriveView(
        name=str(body["metadata"]["name"]),
        state=str(condition_of(body, "Progressing").get("reason", "Pending")),
        matched=status.get("matched"),
        moved=status.get("moved"),
        remaining=status.get("remaining"),
        failed=status.get("failed"),
        limit=spec.get("limit"),
        is_suspended=bool(spec.get("suspend")),
        is_finished=bool(status.get("completionTime")),
        has_failed=failed.get("status") == "True",
        message=str(told.get("message", "")),
        created_at=moment(body["metadata"].get("creationTimestamp")),
        started_at=moment(status.get("startTime")),
        finished_at=moment(status.get("completionTime")),
        is_dry_run=bool(spec.get("dryRun")),
    )

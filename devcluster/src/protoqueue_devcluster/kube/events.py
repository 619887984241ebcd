"""Kubernetes Events: what `kubectl describe` shows of how an object came to be as it is."""

import asyncio
import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from protoqueue_devcluster.kube.client import EVENTS, ApiError, Kind, KubeClient, Object

log = logging.getLogger(__name__)

_REMEMBERED = 1000


@dataclass(frozen=True)
class Occurrence:
    """Something that happened to an object; equal ones are counted in one Event instead of repeated."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    warning: bool = False
    field_path: str = ""


class EventRecorder:
    """Writes Events in the background. They are a courtesy: one that cannot be written is dropped."""

    def __init__(self, client: KubeClient, component: str, host: str = "") -> None:
        self._client, self._source = client, {"component": component, "host": host}
        self._waiting: asyncio.Queue[Occurrence] = asyncio.Queue(_REMEMBERED)
        self._written: OrderedDict[Occurrence, tuple[str, int]] = OrderedDict()

    def record(self, occurrence: Occurrence) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(occurrence)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            occurrence = await self._waiting.get()
            try:
                await self._write(occurrence)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                self._written.pop(occurrence, None)
                log.debug("event dropped reason=%s object=%s error=%s", occurrence.reason, occurrence.name, error)

    async def _write(self, occurrence: Occurrence) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if occurrence in self._written:
            name, count = self._written.pop(occurrence)
            count += 1
            await self._client.merge(EVENTS, {"count": count, "lastTimestamp": now}, name, occurrence.namespace)
        else:
            name, count = f"{occurrence.name}.{uuid.uuid4().hex[:16]}", 1
            await self._client.create(EVENTS, self._body(occurrence, name, now), occurrence.namespace)
        self._written[occurrence] = (name, count)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _body(self, occurrence: Occurrence, name: str, now: str) -> Object:
        regarding = {
            "apiVersion": occurrence.kind.api_version,
            "kind": occurrence.kind.name,
            "namespace": occurrence.namespace,
            "name": occurrence.name,
            "uid": occurrence.uid,
        }
        if occurrence.field_path:
            regarding["fieldPath"] = occurrence.field_path
        return {
            "metadata": {"name": name, "namespace": occurrence.namespace},
            "involvedObject": regarding,
            "reason": occurrence.reason,
            "message": occurrence.message,
            "type": "Warning" if occurrence.warning else "Normal",
            "source": self._source,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source["host"],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

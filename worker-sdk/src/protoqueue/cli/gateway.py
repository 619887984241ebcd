"""Queues behind a gateway (`--server`), as commands use them. Loaded only then: it needs the HTTP client."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from protoqueue.admin.all_queues import QueueOverview
from protoqueue.admin.letter import Letter
from protoqueue.admin.samples import QueueSample, QueueSamples, WorkerChange
from protoqueue.admin.stats import GroupStats, Progress, QueueStats
from protoqueue.cli.progress import say
from protoqueue.errors import ConfigurationError, ProtoQueueError
from protoqueue.http.asynchronous import AsyncQueues
from protoqueue.http.calls import Call
from protoqueue.http.errors import NotFound
from protoqueue.http.transport import Request
from protoqueue.http.wire import encode_message, queue_path
from protoqueue.task import NewTask, Receipt, Task

_RETRIES, _TIMEOUT_S = 2, 15.0
_BATCH = 100
_PAGE = 100
_LOOK_S = 0.5
"""How often a redrive is looked at while it goes on."""

Json = Mapping[str, Any]
_NONE: Mapping[str, str | int] = {}


class GatewayClient(AsyncQueues):
    """In the place of `protoqueue.Client`; raises ConfigurationError where the address or the key is missing."""

    def __init__(self, server: str, key: str | None) -> None:
        super().__init__(key, server, retries=_RETRIES, timeout=_TIMEOUT_S)

    async def ask(
        self, method: str, path: str, body: Json | None = None, query: Mapping[str, str | int] = _NONE
    ) -> Any:
        """The answer's JSON. Raises what `protoqueue.http.errors` lists."""
        return await self._send(Call(Request(method, path, body, dict(query)), lambda answer: answer.value))

    async def queue(self, name: str) -> "GatewayQueue":
        """Asks nothing yet; raises ConfigurationError for what is no such name."""
        return GatewayQueue(self, name, queue_path(name))

    async def queue_names(self) -> list[str]:
        return [f"{each['namespace']}/{each['name']}" for each in await self.listed()]

    async def listed(self) -> list[Json]:
        """The queues of the gateway's default namespace that the key may read."""
        found: list[Json] = []
        cursor: str | None = None
        while True:
            query: dict[str, str | int] = {"limit": _PAGE} | ({"cursor": cursor} if cursor else {})
            page = await self.ask("GET", "/v1/queues", query=query)
            found += page["queues"]
            if (cursor := page.get("cursor")) is None:
                return found

    async def overview(self) -> dict[str, QueueOverview]:
        """A gateway tells how many tasks there are, not how many have passed."""
        found = {}
        for each in await self.listed():
            if counts := each.get("counts"):
                stats = _stats(counts | {"paused": each["paused"], "groups": {}})
                oldest_at = None if stats.oldest_age is None else datetime.now(UTC) - stats.oldest_age
                found[f"{each['namespace']}/{each['name']}"] = QueueOverview(stats, Progress(0, 0), oldest_at)
        return found


@dataclass(frozen=True)
class GatewayQueue:
    """In the place of `protoqueue.Queue`."""

    client: GatewayClient
    name: str
    path: str

    @property
    def dead_letter_queue(self) -> str | None:
        """Not told here: the queue's `config` has it."""
        return None

    async def described(self) -> Json:
        """The queue with its conditions, groups and spec."""
        described: Json = await self.client.ask("GET", self.path)
        return described

    async def enqueue_batch(self, items: Iterable[Any]) -> list[Receipt]:
        """In batches of a hundred, each of which is stored whole or not at all."""
        bodies = [_body(item) for item in items]
        receipts: list[Receipt] = []
        for start in range(0, len(bodies), _BATCH):
            batch = {"messages": bodies[start : start + _BATCH]}
            answer = await self.client.ask("POST", f"{self.path}/messages/batch", batch)
            receipts += [Receipt(each["id"], each["duplicate"]) for each in answer["messages"]]
        return receipts

    async def stats(self) -> QueueStats:
        return _stats(await self.client.ask("GET", f"{self.path}/stats"))

    async def samples(self, since: float = 3600) -> QueueSamples:
        answer = await self.client.ask("GET", f"{self.path}/samples", query={"since": f"{since:g}s"})
        return QueueSamples(
            timedelta(seconds=answer["stepSeconds"]),
            [_sample(each) for each in answer["samples"]],
            [_change(each) for each in answer["changes"]],
        )

    async def purge(self, *, scheduled: bool = False) -> int:
        return int((await self.client.ask("POST", f"{self.path}/purge", {"scheduled": scheduled}))["purged"])

    async def cancel(self, task_id: str, *, timeout: float = _TIMEOUT_S) -> bool:  # noqa: ARG002
        """The gateway looks for as long as it sees fit; `timeout` means nothing here."""
        return await self._deleted(f"{self.path}/tasks/{quote(task_id, safe='')}", "TaskNotFound")

    async def pause(self, *, paused: bool) -> None:
        await self.client.ask("POST", f"{self.path}/{'pause' if paused else 'resume'}", {})

    async def dead_letters(self, *, group: str | None = None) -> "AsyncIterator[GatewayLetter]":
        query: dict[str, str | int] = {"limit": _PAGE} | ({"group": group} if group else {})
        while True:
            page = await self.client.ask("GET", f"{self.path}/dead-letters", query=query)
            for each in page["deadLetters"]:
                yield _letter(each, self)
            if page.get("cursor") is None:
                return
            query["cursor"] = page["cursor"]

    async def redrive(
        self,
        *,
        limit: int | None = None,
        rate: float | None = None,
        group: str | None = None,
        type: str | None = None,  # noqa: A002
        reason: str | None = None,
    ) -> int:
        chosen = {name: text for name, text in (("group", group), ("type", type), ("reason", reason)) if text}
        body = {"filter": chosen} | ({"limit": limit} if limit else {}) | ({"rate": rate} if rate else {})
        redrive = await self.client.ask("POST", f"{self.path}/dead-letters/redrive", body)
        name = redrive["name"]
        while not redrive["finished"]:
            say(f"redriving dead letters as {name}, {redrive['moved'] or 0} of {redrive['matched'] or '?'}")
            await asyncio.sleep(_LOOK_S)
            redrive = await self.client.ask("GET", f"{self.path}/redrives/{name}")
        if redrive["state"] != "Completed":
            raise ProtoQueueError(f"redrive {name}: {redrive['moved'] or 0} moved; {redrive['message']}")
        return int(redrive["moved"] or 0)

    async def delete_letter(self, task_id: str) -> bool:
        return await self._deleted(f"{self.path}/dead-letters/{quote(task_id, safe='')}", "DeadLetterNotFound")

    async def _deleted(self, path: str, absent: str) -> bool:
        try:
            await self.client.ask("DELETE", path)
        except NotFound as error:
            if error.code == absent:
                return False
            raise
        return True


@dataclass(frozen=True)
class GatewayLetter(Letter):
    """In the place of `protoqueue.DeadLetter`."""

    queue: GatewayQueue = field(repr=False)

    async def redrive(self) -> None:
        """Raises ConfigurationError: the API has no call for one letter."""
        raise ConfigurationError(
            "over --server dead letters are redriven by --group, --type, --reason, --limit or --all, not by id"
        )

    async def delete(self) -> bool:
        return await self.queue.delete_letter(self.task.id)


def _body(item: Any) -> Json:
    if not isinstance(item, NewTask):
        return encode_message(item)
    return encode_message(
        item.payload,
        type=item.type or None,
        priority=item.priority,
        delay=item.delay,
        at=item.at,
        expires=item.expires,
        dedup_id=item.dedup_id,
        ordering_key=item.ordering_key or None,
        fairness_key=item.fairness_key or None,
        metadata=item.metadata or None,
        retry=item.retry,
    )


def _stats(found: Json) -> QueueStats:
    age = found.get("oldestAgeSeconds")
    groups = {
        name: GroupStats(each["waiting"], each["inFlight"], paused=each["paused"])
        for name, each in found["groups"].items()
    }
    oldest_age = None if age is None else timedelta(seconds=age)
    counts: Sequence[int] = [found[name] for name in ("waiting", "inFlight", "scheduled", "dead")]
    waiting, in_flight, scheduled, dead = counts
    return QueueStats(waiting, in_flight, scheduled, dead, oldest_age, {}, groups, found["paused"])


def _sample(each: Json) -> QueueSample:
    age = each["oldestAgeSeconds"]
    return QueueSample(
        datetime.fromisoformat(each["at"]), each["waiting"], each["inFlight"], each["scheduled"], each["dead"],
        each["arrivals"], each["completions"], None if age is None else timedelta(seconds=age),
        each["workersDesired"], each["workersAvailable"],
    )  # fmt: skip


def _change(each: Json) -> WorkerChange:
    return WorkerChange(
        datetime.fromisoformat(each["at"]), each["group"], each["before"], each["after"], each["reason"],
        each["message"],
    )  # fmt: skip


def _letter(each: Json, queue: GatewayQueue) -> GatewayLetter:
    if each.get("payloadBase64"):
        data, content_type = base64.b64decode(each["payloadBase64"]), each.get("contentType", "")
    else:
        data, content_type = json.dumps(each.get("payload"), ensure_ascii=False).encode(), "application/json"
    task = Task(
        id=each["id"],
        data=data,
        type=each["type"],
        content_type=content_type,
        priority=each["priority"],
        enqueued_at=_moment(each["enqueuedAt"]),
        ordering_key=each["orderingKey"] or "",
        metadata=each["metadata"],
        attempt=each["attempts"],
    )
    return GatewayLetter(
        task, each["reason"], each["error"], each["errorType"], each["attempts"], each["group"], each["worker"],
        _moment(each["failedAt"]), each["sequence"], each["redrives"], each["traceback"], queue,
    )  # fmt: skip


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

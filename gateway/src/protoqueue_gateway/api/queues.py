"""Queues: made, listed, looked at, changed, deleted; paused, purged, counted."""

from typing import Any

from starlette.responses import Response

from protoqueue import GroupStats, QueueStats
from protoqueue.protocol.durations import parse_duration
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_body, read_query
from protoqueue_gateway.api.cursors import read_cursor, write_cursor
from protoqueue_gateway.api.messages import moment
from protoqueue_gateway.api.operation import Answer, Call, Operations, json_answer
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.service.queue_rows import has_workers
from protoqueue_gateway.service.queues import NewQueue, QueueView, dead_letter_queue

operations = Operations()

_COUNTS = {"waiting": 3, "inFlight": 1, "scheduled": 0, "dead": 0, "oldestAgeSeconds": 1.5}
_QUEUE = {
    "name": "email", "namespace": "default", "ready": True, "reason": "Ready", "message": "", "paused": False,
    "counts": _COUNTS, "groups": [{"name": "email", "waiting": 3, "inFlight": 1, "paused": False,
        "throttledUntil": None, "workers": None}],
    "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": ""}],
    "config": {"maxRetries": 3, "visibilityTimeout": "30s", "deadLetterQueue": None, "rateLimit": None},
    "spec": {"retry": {"maxAttempts": 4}, "visibilityTimeout": "30s"}, "createdAt": "2026-11-30T09:00:00Z",
}  # fmt: skip


@operations.add(
    "POST", "/queues", "Create a queue", None,
    body=inputs.NewQueue, query=inputs.CreateQuery,
    example={"name": "email", "config": {"maxRetries": 3, "rateLimit": {"requests": 100, "per": "minute"}}},
    answers={
        201: Answer("It is made, and ready where `ready` says so.", outputs.Queue, _QUEUE),
        200: Answer("There is one just like this.", outputs.Queue, _QUEUE),
    },
    problems=["Forbidden", "NamespaceNotFound", "QueueExists", "Conflict"],
)  # fmt: skip
async def create_queue(call: Call) -> Response:
    query = read_query(call.request, inputs.CreateQuery)
    wanted = await read_body(call, inputs.NewQueue)
    name = QueueName(call.namespace, wanted.name)
    call.require(Action.MANAGE, name)
    letters = wanted.config.dead_letter_queue if wanted.config else None
    spec = wanted.spec if wanted.spec is not None else _defaults(call) | (wanted.config or inputs.QueueConfig()).spec()
    _guard(call, name, spec)
    new = NewQueue(name, spec, letters, _defaults(call))
    view, created = await call.services.queues.create(new, query.wait.total_seconds())
    return json_answer(shown(view), 201 if created else 200, {"Location": _path(name)} if created else None)


def _defaults(call: Call) -> dict[str, Any]:
    settings = call.services.settings
    return {
        "visibilityTimeout": settings.default_visibility_timeout,
        "retry": {"maxAttempts": settings.default_max_retries + 1},
    }


def _guard(call: Call, name: QueueName, spec: dict[str, Any]) -> None:
    """What a spec may name only for those who may do more than make the queue.

    Another NATS connection is read from a Secret of the namespace; another queue gets this one's dead letters.
    """
    if "nats" in spec:
        call.require(Action.ADMIN, name)
    if letters := dead_letter_queue(spec):
        call.require(Action.MANAGE, QueueName(name.namespace, letters))


def _path(name: QueueName) -> str:
    return f"/v1/namespaces/{name.namespace}/queues/{name.name}"


@operations.add(
    "GET", "/queues", "List the queues that the key may read", None, query=inputs.PageQuery,
    answers={200: Answer("A page of them, by name.", outputs.QueuePage, {"queues": [_QUEUE], "cursor": None})},
    problems=["NamespaceNotFound"],
)  # fmt: skip
async def list_queues(call: Call) -> Response:
    query = read_query(call.request, inputs.PageQuery)
    after = str(read_cursor("queues", query.cursor) or "")

    def may_see(queue: str) -> bool:
        return call.key.allows(Action.READ, queue)

    views, last = await call.services.queues.page(call.namespace, may_see, after, query.limit)
    cursor = None if last is None else write_cursor("queues", last)
    return json_answer({"queues": [shown(view) for view in views], "cursor": cursor})


@operations.add(
    "GET", "/queues/{queue}", "Get a queue", Action.READ,
    answers={200: Answer("The queue as it is now.", outputs.Queue, _QUEUE)}, problems=["QueueNotFound"],
)  # fmt: skip
async def get_queue(call: Call) -> Response:
    return json_answer(shown(await call.services.queues.get(call.queue)))


@operations.add(
    "PATCH", "/queues/{queue}", "Change a queue", Action.MANAGE, body=inputs.QueueChange,
    example={"config": {"maxRetries": 5}},
    answers={200: Answer("The queue as it is now.", outputs.Queue, _QUEUE)}, problems=["QueueNotFound", "Conflict"],
)  # fmt: skip
async def change_queue(call: Call) -> Response:
    change = await read_body(call, inputs.QueueChange)
    letters = change.config.dead_letter_queue if change.config else None
    spec = change.spec if change.spec is not None else (change.config or inputs.QueueConfig()).spec()
    _guard(call, call.queue, spec)
    return json_answer(shown(await call.services.queues.change(call.queue, spec, letters, _defaults(call))))


@operations.add(
    "DELETE", "/queues/{queue}", "Delete a queue", Action.MANAGE, query=inputs.DeleteQuery,
    answers={204: Answer("It is gone."), 202: Answer("It goes, once its groups are gone or it is empty.")},
    problems=["QueueNotFound"],
)  # fmt: skip
async def delete_queue(call: Call) -> Response:
    query = read_query(call.request, inputs.DeleteQuery)
    gone = await call.services.queues.delete(call.queue, query.deletion_policy, query.wait.total_seconds())
    return Response(status_code=204 if gone else 202)


@operations.add(
    "POST", "/queues/{queue}/pause", "Deliver nothing more; producers may go on", Action.MANAGE,
    body=inputs.Nothing, body_optional=True, answers={204: Answer("Done.")}, problems=["QueueNotFound"],
)  # fmt: skip
async def pause(call: Call) -> Response:
    await read_body(call, inputs.Nothing, optional=True)
    await call.services.queues.pause(call.queue, paused=True)
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/resume", "Deliver again", Action.MANAGE,
    body=inputs.Nothing, body_optional=True, answers={204: Answer("Done.")}, problems=["QueueNotFound"],
)  # fmt: skip
async def resume(call: Call) -> Response:
    await read_body(call, inputs.Nothing, optional=True)
    await call.services.queues.pause(call.queue, paused=False)
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/purge", "Remove every task that waits or is in flight", Action.MANAGE,
    body=inputs.Purge, body_optional=True, example={"scheduled": True},
    answers={200: Answer("How many were removed.", outputs.Purged, {"purged": 12})}, problems=["QueueNotFound"],
)  # fmt: skip
async def purge(call: Call) -> Response:
    body = await read_body(call, inputs.Purge, optional=True)
    queue = await call.services.connection.queue(call.queue)
    return json_answer({"purged": await queue.purge(scheduled=body.scheduled)})


@operations.add(
    "GET", "/queues/{queue}/stats", "Count what a queue holds", Action.READ,
    answers={200: Answer(
        "As JetStream counts it now.", outputs.Stats,
        {**_COUNTS, "paused": False, "groups": {"email": {
            "waiting": 3, "inFlight": 1, "paused": False, "throttledUntil": None,
        }}},
    )},
    problems=["QueueNotFound"],
)  # fmt: skip
async def stats(call: Call) -> Response:
    found = await (await call.services.connection.queue(call.queue)).stats()
    groups = {name: _group_counts(group) for name, group in found.groups.items()}
    return json_answer({**_counts(found), "paused": found.paused, "groups": groups})


def shown(view: QueueView) -> dict[str, Any]:
    """A queue as the API shows it."""
    metadata, ready = view.body["metadata"], view.ready
    return {
        "name": view.name.name, "namespace": view.name.namespace,
        "ready": ready.get("status") == "True", "reason": ready.get("reason", "Pending"),
        "message": ready.get("message", ""), "paused": bool(view.spec.get("paused")),
        "counts": _counts(view.stats) if view.stats else None,
        "groups": [_group(view, group) for group in view.groups],
        "conditions": [
            {name: condition.get(name, "") for name in ("type", "status", "reason", "message")}
            for condition in view.conditions
        ],
        "config": _config(view), "spec": view.spec, "createdAt": metadata["creationTimestamp"],
    }  # fmt: skip


def _group(view: QueueView, group: dict[str, Any]) -> dict[str, Any]:
    name = str(group["metadata"]["name"])
    spec, status = group.get("spec") or {}, group.get("status") or {}
    workers = status.get("availableReplicas") if has_workers(group) else None
    paused = bool(spec.get("paused")) or view.group_stats(name).paused
    return {"name": name, **_group_counts(view.group_stats(name)), "paused": paused, "workers": workers}


def _group_counts(group: GroupStats) -> dict[str, Any]:
    return {
        "waiting": group.waiting, "inFlight": group.in_flight, "paused": group.paused,
        "throttledUntil": moment(group.throttled_until),
    }  # fmt: skip


def _counts(stats: QueueStats) -> dict[str, Any]:
    oldest = None if stats.oldest_age is None else round(stats.oldest_age.total_seconds(), 3)
    return {
        "waiting": stats.waiting, "inFlight": stats.in_flight, "scheduled": stats.scheduled, "dead": stats.dead,
        "oldestAgeSeconds": oldest,
    }  # fmt: skip


def _config(view: QueueView) -> dict[str, Any]:
    """The spec in the short form."""
    spec = view.spec
    limit = spec.get("rateLimit")
    return {
        "maxRetries": int((spec.get("retry") or {}).get("maxAttempts", 20)) - 1,
        "visibilityTimeout": spec.get("visibilityTimeout", "30s"),
        "deadLetterQueue": dead_letter_queue(spec),
        "rateLimit": {"requests": limit["tasks"], "per": _period(limit.get("per", "1s"))} if limit else None,
    }


def _period(text: str) -> str:
    names = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}
    return names.get(parse_duration(text).total_seconds(), text)

"""Tasks by their ids, and those of one state: where they are, what became of them, taken back."""

import base64
from typing import Any

from pydantic_core import from_json
from starlette.responses import Response

from protoqueue import RecordedValue, TaskRecord, TaskState, TaskStatus
from protoqueue.protocol.payloads import JSON
from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_query
from protoqueue_gateway.api.cursors import read_cursor, write_cursor
from protoqueue_gateway.api.messages import moment
from protoqueue_gateway.api.operation import Answer, Call, Operations, json_answer
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.service.task_lookup import Wanted

operations = Operations()

_NOT_THERE = ["QueueNotFound", "TaskNotFound"]
_SUMMARY = {
    "id": "01a22ca12afe7c1e81a80423a4301f24", "state": "Done", "type": "welcome", "attempts": 2, "group": "email",
    "worker": "email-7d9f-x2x4q-7", "priority": 5, "metadata": {}, "enqueuedAt": "2026-11-30T09:00:00.000Z",
    "dueAt": None, "startedAt": "2026-11-30T09:00:02.000Z", "finishedAt": "2026-11-30T09:00:02.120Z", "reason": "",
    "error": "connection refused", "errorType": "ConnectionError",
}  # fmt: skip
_ATTEMPT = {
    "attempt": 2, "outcome": "Done", "group": "email", "worker": "email-7d9f-x2x4q-7",
    "startedAt": "2026-11-30T09:00:02.000Z", "finishedAt": "2026-11-30T09:00:02.120Z", "dueAt": None, "reason": "",
    "error": "", "errorType": "", "traceback": "",
}  # fmt: skip
_STATUS = _SUMMARY | {
    "traceback": "Traceback (most recent call last): …", "payload": None, "records": [_ATTEMPT],
    "result": {"json": {"sent": True}, "base64": "", "contentType": JSON, "omitted": ""},
}  # fmt: skip


@operations.add(
    "GET", "/queues/{queue}/tasks", "List tasks of one state, or those that have ended", Action.READ, tag="tasks",
    query=inputs.TasksQuery,
    answers={200: Answer(
        "What has ended newest first, the rest oldest first.", outputs.TaskPage, {"tasks": [_SUMMARY], "cursor": None},
    )},
    problems=["QueueNotFound", "HistoryDisabled"],
)  # fmt: skip
async def list_tasks(call: Call) -> Response:
    query = read_query(call.request, inputs.TasksQuery)
    before = read_cursor("tasks", query.cursor)
    state = TaskState(query.state) if query.state else None
    place = before if isinstance(before, int) else None
    wanted = Wanted(state, query.type, query.error_type, query.since, place)
    found, last = await call.services.task_lookup.search(call.queue, wanted, query.limit)
    cursor = None if last is None else write_cursor("tasks", last)
    return json_answer({"tasks": [_summary(status) for status in found], "cursor": cursor})


@operations.add(
    "GET", "/queues/{queue}/tasks/{id}", "Tell where a task is, or what became of it", Action.READ, tag="tasks",
    answers={200: Answer("With its attempts, where the Queue has spec.history.", outputs.TaskStatus, _STATUS)},
    problems=_NOT_THERE,
)  # fmt: skip
async def get_task(call: Call) -> Response:
    status = await call.services.task_lookup.status(call.queue, call.request.path_params["id"])
    told = _summary(status) | {
        "traceback": status.traceback, "result": _value(status.result), "payload": _value(status.payload),
        "records": [_attempt(record) for record in status.records],
    }  # fmt: skip
    return json_answer(told)


@operations.add(
    "DELETE", "/queues/{queue}/tasks/{id}", "Cancel a task that waits, is scheduled or runs", Action.MANAGE,
    tag="tasks", answers={204: Answer("It is taken back.")}, problems=_NOT_THERE,
)  # fmt: skip
async def cancel_task(call: Call) -> Response:
    await call.services.tasks.cancel(call.queue, call.request.path_params["id"])
    return Response(status_code=204)


def _summary(status: TaskStatus) -> dict[str, Any]:
    return {
        "id": status.id, "state": status.state, "type": status.type, "attempts": status.attempts,
        "group": status.group, "worker": status.worker, "priority": status.priority, "metadata": status.metadata,
        "enqueuedAt": moment(status.enqueued_at), "dueAt": moment(status.due_at),
        "startedAt": moment(status.started_at), "finishedAt": moment(status.finished_at), "reason": status.reason,
        "error": status.error, "errorType": status.error_type,
    }  # fmt: skip


def _attempt(record: TaskRecord) -> dict[str, Any]:
    return {
        "attempt": record.attempt, "outcome": record.outcome, "group": record.group, "worker": record.worker,
        "startedAt": moment(record.started_at), "finishedAt": moment(record.finished_at),
        "dueAt": moment(record.due_at), "reason": record.reason, "error": record.error,
        "errorType": record.error_type, "traceback": record.traceback,
    }  # fmt: skip


def _value(value: RecordedValue | None) -> dict[str, Any] | None:
    if value is None:
        return None
    told = {"json": None, "base64": "", "contentType": value.content_type, "omitted": value.omitted}
    if not value.omitted:
        try:
            if value.content_type not in (JSON, ""):
                raise ValueError
            told["json"] = from_json(value.data, allow_inf_nan=False)
        except ValueError:
            told["base64"] = base64.b64encode(value.data).decode()
    return told

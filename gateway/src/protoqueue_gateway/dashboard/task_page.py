"""One task: where it is or what became of it, and each of its attempts."""

import time
from datetime import datetime
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from protoqueue import TaskRecord, TaskState
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard import formats, payloads
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.queue_cells import path_of
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.visits import Visit
from protoqueue_gateway.service.task_history import TaskDetails

pages = Pages()

_MOST_CHARACTERS = 1000
_GOING = (TaskState.WAITING, TaskState.RUNNING, TaskState.SCHEDULED, TaskState.RETRYING)
_NOT_DUE = (TaskState.SCHEDULED, TaskState.RETRYING)


def task_path(queue: QueueName, task_id: str) -> str:
    """An id may hold anything, a slash for one: so it is not a part of the path."""
    return f"{path_of(queue)}/task?id={quote(task_id, safe='')}"


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/task", Action.READ)
async def task(visit: Visit) -> Response:
    found = await visit.services.task_history.task(visit.queue, visit.query("id")[:_MOST_CHARACTERS])
    status = found.status
    page = rendered(
        "task.html", visit=visit, queue=visit.queue, tab="tasks", status=status, now=time.time(), took=took,
        payload=_payload(found), metadata=payloads.metadata_text(status.metadata), result=_value(status.result),
        is_going=status.state in _GOING, is_not_due=status.state in _NOT_DUE,
        is_dead=status.state is TaskState.DEAD, may_manage=visit.allows(Action.MANAGE, visit.queue),
    )  # fmt: skip
    return html_answer(visit.request, page)


def took(record: TaskRecord) -> str:
    """How long an attempt ran."""
    return span_between(record.started_at, record.finished_at)


def span_between(begin: datetime | None, end: datetime | None) -> str:
    if begin is None or end is None:
        return formats.NOTHING
    seconds = max(0.0, (end - begin).total_seconds())
    return (
        f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 60
        else formats.span(int(seconds))
    )


def _payload(found: TaskDetails) -> payloads.Shown | None:
    if found.task is not None:
        return payloads.shown(found.task.data, found.task.content_type)
    recorded = next((each.payload for each in reversed(found.status.records) if each.payload is not None), None)
    return _value(recorded)


def _value(recorded: Any) -> payloads.Shown | None:
    """A recorded payload or result, or why it was left out."""
    if recorded is None:
        return None
    if recorded.omitted:
        return payloads.Shown("not recorded", recorded.omitted, 0)
    return payloads.shown(recorded.data, recorded.content_type)

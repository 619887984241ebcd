"""The tasks of a queue: those that are not done, and, where it keeps a history, finished attempts."""

import time
from urllib.parse import urlencode

from starlette.responses import Response

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard import payloads
from protoqueue_gateway.dashboard.actions import back_to
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.queue_cells import path_of
from protoqueue_gateway.dashboard.queue_page import note_of
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.task_page import took
from protoqueue_gateway.dashboard.visits import Visit
from protoqueue_gateway.service.task_history import RecordSearch
from protoqueue_gateway.service.tasks import TaskSearch

pages = Pages()

_PAGE = 50
_STATES = {
    "waiting": "waiting or running",
    "scheduled": "not due yet",
    "failed": "failed attempts",
    "finished": "all finished attempts",
}
_MOST_CHARACTERS = 300
_NOTES = {
    "cancelled": "The task was cancelled.",
    "hastened": "The task runs as soon as a worker takes it.",
}


def tasks_path(queue: QueueName) -> str:
    return f"{path_of(queue)}/tasks"


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/tasks", Action.READ)
async def tasks(visit: Visit) -> Response:
    state = visit.query("state")
    state = state if state in _STATES else "waiting"
    values = {name: visit.query(name).strip()[:_MOST_CHARACTERS] for name in ("id", "type", "metadata", "errorType")}
    is_history = state in ("failed", "finished")
    found = await (_finished(visit, state, values) if is_history else _unfinished(visit, state, values))
    page = rendered(
        "tasks.html", visit=visit, queue=visit.queue, tab="tasks", state=state, states=_STATES, values=values,
        is_history=is_history, now=time.time(), note=note_of(visit, _NOTES), took=took,
        may_manage=visit.allows(Action.MANAGE, visit.queue), **found,
    )  # fmt: skip
    return html_answer(visit.request, page)


async def _unfinished(visit: Visit, state: str, values: dict[str, str]) -> dict[str, object]:
    services = visit.services
    wanted = TaskSearch(values["id"], values["type"], values["metadata"])
    look = services.tasks.scheduled if state == "scheduled" else services.tasks.waiting
    found = await look(visit.queue, wanted, _PAGE)
    shown = [
        (each, payloads.shown(each.task.data, each.task.content_type), payloads.metadata_text(each.task.metadata))
        for each in found.tasks
    ]
    return {"found": found, "shown": shown, "is_filtered": not wanted.is_empty}


async def _finished(visit: Visit, state: str, values: dict[str, str]) -> dict[str, object]:
    wanted = RecordSearch(True if state == "failed" else None, values["type"], values["errorType"])
    text = visit.query("before")
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    records = await visit.services.task_history.records(visit.queue, wanted, before, _PAGE)
    stated = {"state": state, "type": wanted.type, "errorType": wanted.error_type, "before": records.following}
    following = urlencode(stated) if records.following else ""
    return {"records": records, "following": following, "is_filtered": bool(wanted.type or wanted.error_type)}


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/tasks/cancel", Action.MANAGE)
async def cancel(visit: Visit) -> Response:
    task_id = (await visit.form()).text("id")
    await visit.services.tasks.cancel(visit.queue, task_id)
    visit.log("cancelled", visit.queue, task=task_id)
    return back_to(tasks_path(visit.queue), "cancelled")


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/tasks/run", Action.MANAGE)
async def run_now(visit: Visit) -> Response:
    task_id = (await visit.form()).text("id")
    await visit.services.tasks.run_now(visit.queue, task_id)
    visit.log("ran at once", visit.queue, task=task_id)
    return back_to(tasks_path(visit.queue), "hastened")

"""What can be done to a queue."""

from typing import Any

from starlette.responses import RedirectResponse, Response

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.queue_cells import path_of
from protoqueue_gateway.dashboard.rendering import HEADERS, html_answer, rendered
from protoqueue_gateway.dashboard.visits import Form, Visit

pages = Pages()


def back_to(path: str, done: str, number: int | None = None) -> Response:
    """To a page that says what was done."""
    count = "" if number is None else f"&n={number}"
    return see_other(f"{path}?done={done}{count}")


def see_other(path: str) -> Response:
    return RedirectResponse(path, 303, HEADERS)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/pause", Action.MANAGE)
async def pause(visit: Visit) -> Response:
    return await _set_paused(visit, paused=True)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/resume", Action.MANAGE)
async def resume(visit: Visit) -> Response:
    return await _set_paused(visit, paused=False)


async def _set_paused(visit: Visit, *, paused: bool) -> Response:
    await visit.form()
    await visit.services.queues.pause(visit.queue, paused=paused)
    visit.log("paused" if paused else "resumed", visit.queue)
    return back_to(path_of(visit.queue), "paused" if paused else "resumed")


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/purge", Action.MANAGE)
async def ask_purge(visit: Visit) -> Response:
    return await _purge_form(visit)


async def _purge_form(visit: Visit, *, error: str = "", scheduled: bool = False) -> Response:
    stats = await (await visit.services.connection.queue(visit.queue)).stats()
    return confirmation(visit, "purge.html", 422 if error else 200, error=error, stats=stats, scheduled=scheduled)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/purge", Action.MANAGE)
async def purge(visit: Visit) -> Response:
    form = await visit.form()
    scheduled = form.text("scheduled") == "yes"
    if not is_confirmed(form, visit.queue):
        return await _purge_form(visit, error=not_confirmed(visit.queue), scheduled=scheduled)
    removed = await (await visit.services.connection.queue(visit.queue)).purge(scheduled=scheduled)
    visit.log("purged", visit.queue, scheduled=scheduled, removed=removed)
    return back_to(path_of(visit.queue), "purged", removed)


def is_confirmed(form: Form, queue: QueueName) -> bool:
    """Whether the queue's name was typed, with or without its namespace."""
    return form.text("confirm").strip() in (queue.name, str(queue))


def not_confirmed(queue: QueueName) -> str:
    return f"Nothing was done: type {queue.name} to confirm."


def confirmation(visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
    """The page that asks whether something is meant."""
    page = rendered(template, visit=visit, queue=visit.queue, tab="", back=path_of(visit.queue), **values)
    return html_answer(visit.request, page, status)

"""Putting many dead letters back: started, watched, suspended, stopped."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.responses import Response

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard.actions import confirmation, see_other
from protoqueue_gateway.dashboard.dead_letters_page import filter_of, hidden_fields, letters_path, matching
from protoqueue_gateway.dashboard.live import event, stream
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.queue_cells import path_of
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.visits import Visit
from protoqueue_gateway.service.errors import NoSuchRedrive
from protoqueue_gateway.service.letters import LetterFilter
from protoqueue_gateway.service.redrives import RedriveView

pages = Pages()

_LOOK_S = 0.5
_MOST = 1_000_000


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/dead-letters/redrive-all", Action.MANAGE)
async def ask_redrive_all(visit: Visit) -> Response:
    return await _form(visit, filter_of(visit.request.query_params.multi_items()))


async def _form(visit: Visit, wanted: LetterFilter, error: str = "", rate: str = "", limit: str = "") -> Response:
    count, is_whole = await matching(visit, wanted)
    return confirmation(
        visit, "redrive_all.html", 422 if error else 200, hidden=hidden_fields(wanted), count=count,
        is_whole=is_whole, is_filtered=wanted != LetterFilter(), error=error, rate=rate, limit=limit,
    )  # fmt: skip


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/dead-letters/redrive-all", Action.MANAGE)
async def redrive_all(visit: Visit) -> Response:
    form = await visit.form()
    wanted = filter_of(form.fields)
    rate, limit = form.text("rate").strip(), form.text("limit").strip()
    if not all(_is_number(text) for text in (rate, limit)):
        return await _form(visit, wanted, f"Rate and limit are numbers from 1 to {_MOST}, or empty.", rate, limit)
    name = await visit.services.redrives.start(visit.queue, wanted, _number(rate), _number(limit))
    visit.log("started a redrive", visit.queue, redrive=name, **dict(hidden_fields(wanted)))
    return see_other(_path(visit.queue, name))


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= _MOST)


def _number(text: str) -> int | None:
    return int(text) if text else None


def _path(queue: QueueName, name: str) -> str:
    return f"{path_of(queue)}/redrives/{name}"


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/redrives/{name}", Action.READ)
async def redrive(visit: Visit) -> Response:
    found = await visit.services.redrives.get(visit.queue, _name(visit))
    page = rendered(
        "redrive.html", visit=visit, queue=visit.queue, tab="dead", redrive=found, now=time.time(),
        progress=_progress(found), may_manage=visit.allows(Action.MANAGE, visit.queue),
    )  # fmt: skip
    return html_answer(visit.request, page)


def _name(visit: Visit) -> str:
    return str(visit.request.path_params["name"])


def _progress(found: RedriveView) -> str:
    return rendered("redrive_progress.html", redrive=found)


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/redrives/{name}/live", Action.READ)
async def redrive_live(visit: Visit) -> Response:
    return stream(visit, _changes(visit, visit.queue, _name(visit)))


async def _changes(visit: Visit, queue: QueueName, name: str) -> AsyncIterator[bytes]:
    """Until it has finished."""
    shown = ""
    while True:
        try:
            found = await visit.services.redrives.get(queue, name)
        except NoSuchRedrive:
            yield event({"parts": {}, "over": True})
            return
        if (text := _progress(found)) != shown:
            shown = text
            yield event({"parts": {"progress": text}, "over": found.is_finished, "paused": found.is_suspended})
        if found.is_finished:
            return
        await asyncio.sleep(_LOOK_S)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/redrives/{name}/suspend", Action.MANAGE)
async def suspend(visit: Visit) -> Response:
    return await _suspend(visit, suspended=True)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/redrives/{name}/resume", Action.MANAGE)
async def resume(visit: Visit) -> Response:
    return await _suspend(visit, suspended=False)


async def _suspend(visit: Visit, *, suspended: bool) -> Response:
    await visit.form()
    await visit.services.redrives.suspend(visit.queue, _name(visit), suspended=suspended)
    visit.log("suspended a redrive" if suspended else "resumed a redrive", visit.queue, redrive=_name(visit))
    return see_other(_path(visit.queue, _name(visit)))


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/redrives/{name}/stop", Action.MANAGE)
async def stop(visit: Visit) -> Response:
    await visit.form()
    await visit.services.redrives.stop(visit.queue, _name(visit))
    visit.log("stopped a redrive", visit.queue, redrive=_name(visit))
    return see_other(letters_path(visit.queue))

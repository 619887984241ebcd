"""Dead letters: what died of what, one by one; put back, edited, deleted."""

import time
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.responses import Response

from protoqueue import DeadLetter, ProtoQueueError
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard import payloads
from protoqueue_gateway.dashboard.actions import back_to, confirmation, is_confirmed, not_confirmed
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.queue_cells import path_of
from protoqueue_gateway.dashboard.queue_page import note_of
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.visits import Form, Visit
from protoqueue_gateway.service.errors import NoSuchDeadLetter
from protoqueue_gateway.service.letters import LetterFilter

pages = Pages()

_PAGE = 50
_FIELDS = {"group": "group", "reason": "reason", "type": "type", "errorType": "error_type"}
"""Of the filter: how a field is called in an address or form, and in `LetterFilter`."""
_MOST_CHARACTERS = 300

_NOTES = {"redriven": "{n} are back in the queue, with fresh attempts.", "deleted": "{n} were deleted."}


def letters_path(queue: QueueName) -> str:
    return f"{path_of(queue)}/dead-letters"


def address_of(wanted: LetterFilter, **more: int) -> str:
    """The filter, and more, as the query of an address."""
    stated = {name: getattr(wanted, field) for name, field in _FIELDS.items() if getattr(wanted, field) is not None}
    return urlencode({**stated, **more})


def hidden_fields(wanted: LetterFilter) -> list[tuple[str, str]]:
    """The filter as fields of a form."""
    values = [(name, getattr(wanted, field)) for name, field in _FIELDS.items()]
    return [(name, value) for name, value in values if value is not None]


def filter_of(fields: Sequence[tuple[str, str]]) -> LetterFilter:
    """Which letters an address or a form asks for: a field that is there and empty means those that have none."""
    stated = dict(fields)
    return LetterFilter(**{field: stated[name][:_MOST_CHARACTERS] for name, field in _FIELDS.items() if name in stated})


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/dead-letters", Action.READ)
async def dead_letters(visit: Visit) -> Response:
    queue, letters = visit.queue, visit.services.letters
    wanted = filter_of(visit.request.query_params.multi_items())
    after = _number(visit.query("after"), 0)
    summary = await letters.summary(queue)
    found, last = await letters.page(queue, wanted, after, _PAGE)
    redrives = [each for each in await visit.services.redrives.list_of(queue) if not each.is_finished]
    page = rendered(
        "dead_letters.html", visit=visit, queue=queue, tab="dead", summary=summary, letters=found,
        redrives=redrives, wanted=wanted,
        hidden=hidden_fields(wanted), is_filtered=wanted != LetterFilter(), address_of=address_of,
        following="" if last is None else address_of(wanted, after=last), after=after, now=time.time(),
        note=note_of(visit, _NOTES), may_manage=visit.allows(Action.MANAGE, queue),
    )  # fmt: skip
    return html_answer(visit.request, page)


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/dead-letters/{sequence}", Action.READ)
async def dead_letter(visit: Visit) -> Response:
    return _letter_page(visit, await visit.services.letters.get(visit.queue, _sequence(visit)))


def _sequence(visit: Visit) -> int:
    """Of the path; raises NoSuchDeadLetter."""
    sequence = _number(str(visit.request.path_params["sequence"]), 0)
    if not sequence:
        raise NoSuchDeadLetter("dead letters have numbers")
    return sequence


def _letter_page(visit: Visit, letter: DeadLetter, *, text: str | None = None, error: str = "") -> Response:
    task = letter.task
    page = rendered(
        "dead_letter.html", visit=visit, queue=visit.queue, tab="dead", letter=letter, now=time.time(),
        payload=payloads.shown(task.data, task.content_type), metadata=payloads.metadata_text(task.metadata),
        text=text, error=error, may_manage=visit.allows(Action.MANAGE, visit.queue),
    )  # fmt: skip
    return html_answer(visit.request, page, 422 if error else 200)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/dead-letters/{sequence}", Action.MANAGE)
async def edit_and_redrive(visit: Visit) -> Response:
    form, sequence = await visit.form(), _sequence(visit)
    letter = await visit.services.letters.get(visit.queue, sequence)
    text = form.text("payload")
    try:
        payload = payloads.edited(text, letter.task.content_type)
        await letter.redrive(payload)
    except (ValueError, ProtoQueueError) as error:
        return _letter_page(visit, letter, text=text, error=str(error))
    visit.log("redrove edited", visit.queue, task=letter.task.id, sequence=sequence)
    return back_to(letters_path(visit.queue), "redriven", 1)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/dead-letters/redrive", Action.MANAGE)
async def redrive_selected(visit: Visit) -> Response:
    sequences = selected(await visit.form())
    moved, error = await visit.services.letters.redrive(visit.queue, sequences)
    visit.log("redrove", visit.queue, selected=len(sequences), moved=moved)
    if error is not None:
        raise Problem("Conflict", f"{moved} of {len(sequences)} are back in the queue; then: {error}")
    return back_to(letters_path(visit.queue), "redriven", moved)


def selected(form: Form) -> list[int]:
    """The letters that are ticked; raises Problem where there are none."""
    found = [number for text in form.all("sequence") if (number := _number(text, 0))]
    if not found:
        raise Problem("Invalid", "nothing is selected: tick the dead letters that you mean")
    return found


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/dead-letters/delete", Action.MANAGE)
async def delete_selected(visit: Visit) -> Response:
    form = await visit.form()
    sequences = selected(form)
    if form.text("confirm") != "yes":
        return confirmation(visit, "delete_letters.html", sequences=sequences)
    deleted = await visit.services.letters.delete(visit.queue, sequences)
    visit.log("deleted dead letters", visit.queue, deleted=deleted)
    return back_to(letters_path(visit.queue), "deleted", deleted)


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/dead-letters/delete-all", Action.MANAGE)
async def ask_delete_all(visit: Visit) -> Response:
    return await _delete_all_form(visit, filter_of(visit.request.query_params.multi_items()))


async def _delete_all_form(visit: Visit, wanted: LetterFilter, error: str = "") -> Response:
    count, is_whole = await matching(visit, wanted)
    return confirmation(
        visit, "delete_all_letters.html", 422 if error else 200, wanted=wanted, hidden=hidden_fields(wanted),
        count=count, is_whole=is_whole, error=error, is_filtered=wanted != LetterFilter(),
    )  # fmt: skip


async def matching(visit: Visit, wanted: LetterFilter) -> tuple[int, bool]:
    """How many letters match, and whether all were looked at."""
    summary = await visit.services.letters.summary(visit.queue)
    return sum(kind.count for kind in summary.kinds if _covers(wanted, kind.filter)), summary.is_whole


def _covers(wanted: LetterFilter, kind: LetterFilter) -> bool:
    pairs = ((getattr(wanted, field), getattr(kind, field)) for field in _FIELDS.values())
    return all(one in (None, other) for one, other in pairs)


@pages.add("POST", "/dashboard/queues/{namespace}/{queue}/dead-letters/delete-all", Action.MANAGE)
async def delete_all(visit: Visit) -> Response:
    form = await visit.form()
    wanted = filter_of(form.fields)
    if not is_confirmed(form, visit.queue):
        return await _delete_all_form(visit, wanted, not_confirmed(visit.queue))
    deleted = await visit.services.letters.delete_all(visit.queue, wanted)
    visit.log("deleted dead letters", visit.queue, deleted=deleted, **dict(hidden_fields(wanted)))
    return back_to(letters_path(visit.queue), "deleted", deleted)

"""One queue: what it holds, its groups, schedules, settings and events."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import yaml
from starlette.responses import Response

from protoqueue import QueueSamples
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.dashboard.charts import charts_of
from protoqueue_gateway.dashboard.live import HEARTBEAT_S, event, stream
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.visits import Visit
from protoqueue_gateway.service.errors import NoSuchQueue
from protoqueue_gateway.service.queue_details import QueueDetails
from protoqueue_gateway.service.queue_history import Span

pages = Pages()

PARTS = ("head", "counts", "charts", "groups", "schedules", "events", "settings")
"""The parts that are sent again when they change: each is a template, and an element of the page with this id."""
_LOOK_S = 2.0
_MOST_CHANGES = 50
_SHORTEST = timedelta(minutes=5)
"""Charts of a queue that is not as old as the span begin with it, and are at least as wide as this."""

_NOTES = {
    "paused": "The queue is paused: nothing is delivered until it is resumed.",
    "resumed": "The queue delivers again.",
    "purged": "{n} tasks were removed.",
}


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}", Action.READ)
async def queue(visit: Visit) -> Response:
    services = visit.services
    span = span_of(visit)
    async with services.live_queues.watching():
        details = await services.details.look(visit.queue)
    history = await services.history.read(visit.queue, span)
    page = rendered(
        "queue.html", visit=visit, queue=visit.queue, tab="overview", parts=parts_of(details, history, span),
        now=time.time(), note=note_of(visit), may_manage=visit.allows(Action.MANAGE, visit.queue),
        is_paused=details.is_paused, span=span,
    )  # fmt: skip
    return html_answer(visit.request, page)


def note_of(visit: Visit, notes: Mapping[str, str] = _NOTES) -> str:
    """What the address says was done: one of our own sentences, with a number."""
    number = visit.query("n")
    return notes.get(visit.query("done"), "").format(n=number if number.isdigit() and len(number) < 12 else "The")


def span_of(visit: Visit) -> Span:
    return Span.DAY if visit.query("span") == Span.DAY else Span.HOUR


def parts_of(details: QueueDetails, history: QueueSamples, span: Span) -> dict[str, str]:
    config = yaml.safe_dump(details.spec, sort_keys=False, allow_unicode=True, width=100) if details.spec else ""
    # It ends with the newest sample, so that what has not changed is the same text.
    end = history.samples[-1].at + history.step if history.samples else datetime.now(UTC)
    known = end - history.samples[0].at if history.samples else span.length
    length = min(span.length, max(known, _SHORTEST))
    values = {
        "details": details, "row": details.row, "config": config, "charts": charts_of(history, end, length),
        "begin": end - length, "end": end, "changes": history.changes[::-1][:_MOST_CHANGES],
    }  # fmt: skip
    return {part: rendered(f"queue_{part}.html", **values) for part in PARTS}


@pages.add("GET", "/dashboard/queues/{namespace}/{queue}/live", Action.READ)
async def queue_live(visit: Visit) -> Response:
    return stream(visit, _changes(visit, visit.queue, span_of(visit)))


async def _changes(visit: Visit, name: QueueName, span: Span) -> AsyncIterator[bytes]:
    """The parts that are others than before; at first all."""
    queues, before = visit.services.live_queues, None
    shown: dict[str, str] = {}
    async with queues.watching():
        told_at = 0.0
        while True:
            version = queues.version
            with contextlib.suppress(NoSuchQueue):
                found = await visit.services.details.look(name), await visit.services.history.read(name, span)
                if found != before:
                    before, parts, details = found, parts_of(*found, span), found[0]
                    changed = {part: text for part, text in parts.items() if shown.get(part) != text}
                    shown = parts
                    yield event({"parts": changed, "paused": details.is_paused})
                    told_at = time.monotonic()
            if time.monotonic() - told_at > HEARTBEAT_S:
                yield b": \n\n"
                told_at = time.monotonic()
            await queues.until_after(version, _LOOK_S)

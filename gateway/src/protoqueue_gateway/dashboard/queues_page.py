"""All queues that a key may read."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from itertools import islice

from starlette.responses import Response

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.auth.keys import Action, Key
from protoqueue_gateway.dashboard import queue_cells
from protoqueue_gateway.dashboard.live import HEARTBEAT_S, event, stream
from protoqueue_gateway.dashboard.pages import Pages
from protoqueue_gateway.dashboard.rendering import html_answer, rendered
from protoqueue_gateway.dashboard.visits import Visit
from protoqueue_gateway.service.queue_rows import Health, QueueRow

pages = Pages()

_MOST_IN_AN_EVENT = 200

_html_rows = queue_cells.HtmlRows()


@pages.add("GET", "/dashboard/queues")
async def queues(visit: Visit) -> Response:
    live = visit.services.live_queues
    async with live.watching():
        version, rows = f"{live.epoch}:{live.version}", live.rows()
    may_see = sight_of(visit.key)
    seen = [row for name, row in rows.items() if may_see(name)]
    now = datetime.now(UTC)
    shown, sort, text, which = _arranged(visit, seen)
    page = rendered(
        "queues.html", visit=visit, columns=queue_cells.COLUMNS, sort=sort, filter=text, which=which,
        rows=_html_rows.html(shown, now), totals=_totals(seen),
        any_queue=bool(seen), shown=len(shown), version=version, now=time.time(),
    )  # fmt: skip
    return html_answer(visit.request, page)


def sight_of(key: Key) -> Callable[[QueueName], bool]:
    """Whether the key may read a queue; what was asked once is known."""
    known: dict[QueueName, bool] = {}

    def may_see(name: QueueName) -> bool:
        found = known.get(name)
        if found is None:
            found = known[name] = key.allows(Action.READ, str(name))
        return found

    return may_see


def _arranged(visit: Visit, rows: Iterable[QueueRow]) -> tuple[list[QueueRow], str, str, str]:
    """The rows as the address says, and how that is: the column, with `-` for the largest first, and the filter."""
    sort, text, which = visit.query("sort", "name")[:20], visit.query("filter")[:130], visit.query("show")[:20]
    column = sort.removeprefix("-")
    if column not in dict(queue_cells.COLUMNS):
        sort = column = "name"
    found = sorted(rows, key=queue_cells.sort_key("name"))
    found.sort(key=queue_cells.sort_key(column), reverse=sort.startswith("-"))
    shown = [row for row in found if queue_cells.is_shown(row, text, which)]
    return shown, sort, text, which if which in ("attention", "busy") else ""


def _totals(rows: list[QueueRow]) -> dict[str, int]:
    return {
        "queues": len(rows),
        "attention": sum(1 for row in rows if row.health is Health.FAILED or row.dead),
        "waiting": sum(row.waiting or 0 for row in rows),
        "inflight": sum(row.in_flight or 0 for row in rows),
        "scheduled": sum(row.scheduled or 0 for row in rows),
        "dead": sum(row.dead or 0 for row in rows),
    }


@pages.add("GET", "/dashboard/live")
async def live(visit: Visit) -> Response:
    return stream(visit, _changes(visit))


async def _changes(visit: Visit) -> AsyncIterator[bytes]:
    """What has changed since the page was made, or since the stream before, then every change."""
    queues, may_see = visit.services.live_queues, sight_of(visit.key)
    epoch, _, text = visit.request.headers.get("last-event-id", visit.query("since")).partition(":")
    async with queues.watching():
        is_known = epoch == queues.epoch and text.isdigit() and len(text) < 16
        since = int(text) if is_known else 0
        if not is_known:
            yield event({"all": [str(name) for name in queues.rows() if may_see(name)]})
        told_at = time.monotonic()
        while True:
            version = queues.version
            rows, gone = queues.changes(since)
            since = version
            changed = {str(row.name): queue_cells.cells(row) for row in rows if may_see(row.name)}
            left = [str(name) for name in gone if may_see(name)]
            for part in _parts(changed):
                yield event({"set": part})
            if changed or left:
                yield event({"gone": left}, event_id=f"{queues.epoch}:{version}")
                told_at = time.monotonic()
            if time.monotonic() - told_at > HEARTBEAT_S:
                yield b": \n\n"
                told_at = time.monotonic()
            await queues.until_after(version, HEARTBEAT_S)


def _parts(changed: dict[str, list[object]]) -> Iterable[dict[str, list[object]]]:
    """A few hundred rows at a time, so that a page can go on in between."""
    items = iter(changed.items())
    while part := dict(islice(items, _MOST_IN_AN_EVENT)):
        yield part

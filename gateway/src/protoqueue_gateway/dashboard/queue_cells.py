"""A queue's row in the list: as cells for the script, and as HTML. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.dashboard import formats
from protoqueue_gateway.service.queue_rows import Health, QueueRow

COLUMNS = (
    ("name", "Queue"),
    ("waiting", "Waiting"),
    ("inflight", "In flight"),
    ("scheduled", "Scheduled"),
    ("dead", "Dead"),
    ("oldest", "Oldest"),
    ("in", "In/s"),
    ("done", "Done/s"),
    ("workers", "Workers"),
    ("state", "State"),
)
"""Of the table: what a column is called in the address, and its heading."""

_MOST_TOLD = 200
_MOST_KEPT = 5000


def path_of(name: QueueName) -> str:
    return f"/dashboard/queues/{name}"


def cells(row: QueueRow) -> list[Any]:
    """What the script makes the cells of, in the order of the columns after the first."""
    oldest = int(row.oldest_at.timestamp()) if row.oldest_at else None
    return [
        row.waiting, row.in_flight, row.scheduled, row.dead, oldest, row.arrivals, row.completions, workers(row),
        row.health.value, state(row), _told(row),
    ]  # fmt: skip


def workers(row: QueueRow) -> str:
    """Available of desired."""
    if row.available is None and row.desired is None:
        return ""
    return f"{formats.count(row.available)}/{formats.count(row.desired)}"


def state(row: QueueRow) -> str:
    """The reason says more where something is not as it should be."""
    return "Ready" if row.health is Health.READY else row.reason


def _told(row: QueueRow) -> str:
    """What is said of a queue that is not well."""
    return "" if row.health is Health.READY else row.message[:_MOST_TOLD]


def html_row(row: QueueRow, now: datetime) -> str:
    """Closing tags that HTML does not need are left out: there may be a thousand of these."""
    path, name, told = escape(path_of(row.name)), escape(str(row.name)), _told(row)
    counts = "<td>".join(formats.count(each) for each in (row.waiting, row.in_flight, row.scheduled, row.dead))
    return (
        f'<tr><th scope=row><a href="{path}">{name}</a><td>{counts}'
        f'<td data-t="{formats.epoch(row.oldest_at)}">{formats.age(row.oldest_at, now)}'
        f"<td>{formats.rate(row.arrivals)}<td>{formats.rate(row.completions)}<td>{workers(row) or formats.NOTHING}"
        f'<td class="{row.health.value}"{_title(told)}>{escape(state(row))}'
    )


def _title(told: str) -> str:
    return f' title="{escape(told)}"' if told else ""


class HtmlRows:
    """Keeps the HTML of rows that are as they were: of a thousand queues most are."""

    def __init__(self) -> None:
        self._known: dict[QueueName, tuple[QueueRow, str]] = {}

    def html(self, rows: Sequence[QueueRow], now: datetime) -> Markup:
        if len(self._known) > 2 * len(rows) + _MOST_KEPT:
            self._known.clear()
        return Markup("\n".join(self._html(row, now) for row in rows))  # noqa: S704  # html_row has escaped it

    def _html(self, row: QueueRow, now: datetime) -> str:
        if row.oldest_at is not None:  # its age is another every second
            return html_row(row, now)
        known = self._known.get(row.name)
        if known is None or known[0] is not row:
            known = self._known[row.name] = row, html_row(row, now)
        return known[1]


def sort_key(column: str) -> Any:
    """The function by which rows are sorted; raises KeyError for what is not a column."""
    by: Mapping[str, Any] = {
        "name": lambda row: row.name,
        "waiting": lambda row: row.waiting or 0,
        "inflight": lambda row: row.in_flight or 0,
        "scheduled": lambda row: row.scheduled or 0,
        "dead": lambda row: row.dead or 0,
        "oldest": lambda row: -row.oldest_at.timestamp() if row.oldest_at else float("-inf"),
        "in": lambda row: row.arrivals or 0,
        "done": lambda row: row.completions or 0,
        "workers": lambda row: (row.available or 0, row.desired or 0),
        "state": lambda row: (row.health.value, row.reason),
    }
    return by[column]


def is_shown(row: QueueRow, text: str, which: str) -> bool:
    """Whether a row passes the filter: a part of its name, and all of them, `attention` or `busy`."""
    if text and text.lower() not in str(row.name):
        return False
    if which == "attention":
        return row.health is Health.FAILED or bool(row.dead)
    return bool(row.waiting or row.in_flight) if which == "busy" else True

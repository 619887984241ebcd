"""The screen of `protoqueue why`: what is the matter first, then the figures. Pure."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from protoqueue.cli.output import human_age
from protoqueue.cli.table import one_line, table_lines
from protoqueue.diagnosis.facts import Facts, Finding, Group

_LONGEST_ERROR = 200
_LONGEST_FINDING = 500


def screen(facts: Facts, findings: Sequence[Finding], width: int | None) -> list[str]:
    """The lines; text is folded at `width`, commands to copy are not."""
    return [
        *_summary(facts, width),
        "",
        *_findings(findings, width),
        *_groups(facts.groups, width, is_counted=facts.stats is not None),
        *_errors(facts, width),
    ]


def _summary(facts: Facts, width: int | None) -> Iterator[str]:
    stats = facts.stats
    yield facts.name
    if stats is not None:
        oldest = f" (oldest {human_age(stats.oldest_age)})" if stats.oldest_age is not None else ""
        counts = f"{stats.waiting} waiting{oldest}, {stats.in_flight} in flight, "
        yield from _folded(f"{counts}{stats.scheduled} scheduled, {stats.dead} dead", width, "  ")
        rates = f"{facts.arrivals_per_s:.1f}/s enqueued, {facts.completions_per_s:.1f}/s finished"
        yield from _folded(rates + _drained_in(facts), width, "  ")
        if facts.recent:
            recent = "in the last ten minutes {:.2f}/s enqueued, {:.2f}/s finished".format(*facts.recent)
            yield from _folded(recent, width, "  ")
    elif not facts.nats_problem:
        yield "  not in NATS"
    if facts.kubernetes_problem:
        yield from _folded(facts.kubernetes_problem, width, "  ")


def _drained_in(facts: Facts) -> str:
    """How long the backlog takes at this pace, where it shrinks."""
    faster = facts.completions_per_s - facts.arrivals_per_s
    if facts.stats is None or not facts.stats.waiting or faster <= 0:
        return ""
    seconds = facts.stats.waiting / faster
    return f", done in about {seconds:.0f} s" if seconds < 120 else f", done in about {seconds / 60:.0f} min"


def _findings(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    if not findings:
        yield "No problems found."
    for number, finding in enumerate(findings):
        if number:
            yield ""
        yield from _folded(f"{finding.cause}: {one_line(finding.what, _LONGEST_FINDING)}", width, "", "  ")
        for part in finding.todo.split("; "):
            yield f"  → {one_line(part)}"


def _groups(groups: Iterable[Group], width: int | None, *, is_counted: bool) -> list[str]:
    """Where nobody could count, no counts."""
    columns = ("GROUP", "WAITING", "IN FLIGHT", "RESPONDING", "RUNNING", "AVAILABLE", "MAX", "SIZE")
    rows = []
    for group in groups:
        resource = group.resource
        size = resource.conditions.get("Scaling") if resource else None
        available = "-" if resource is None else f"{resource.available or 0}/{resource.desired or 0}"
        cap = "-" if resource is None or resource.maximum is None else resource.maximum
        counts = (group.stats.waiting, group.stats.in_flight, len(group.workers), group.running)
        shown = counts if is_counted else ("-",) * len(counts)
        rows.append((group.name, *shown, available, cap, f"{size.reason}: {size.message}" if size else ""))
    spare = ("RUNNING", "MAX", "IN FLIGHT", "AVAILABLE", "SIZE")
    return ["", *table_lines(columns, rows, width, spare)] if rows else []


def _errors(facts: Facts, width: int | None) -> list[str]:
    rows = [
        (one["count"], one["reason"], one["type"], one_line(f"{one['error_type']}: {one['error']}", _LONGEST_ERROR))
        for one in facts.letters
    ]
    return ["", *table_lines(("DEAD", "REASON", "TYPE", "ERROR"), rows, width, ("TYPE",))] if rows else []


def _folded(text: str, width: int | None, indent: str, further: str | None = None) -> list[str]:
    if width is None:
        return [f"{indent}{text}"]
    return textwrap.wrap(
        text, max(20, width), initial_indent=indent, subsequent_indent=further if further is not None else indent
    )

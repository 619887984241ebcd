"""The options of requests, read from the query and checked as Kubernetes checks them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .statuses import Cause, forbidden_field, invalid, not_supported, required, shown

KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
LONGEST_MANAGER = 128
FIELD_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
MATCHES = ("Exact", "NotOlderThan", "")


@dataclass(frozen=True)
class WriteOptions:
    """How a write was asked for."""

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False


def parse_write_options(verb: str, query: Mapping[str, str], user_agent: str, apply: bool) -> WriteOptions:
    """Raises ApiError 422."""
    causes = list(_causes(query, apply))
    if causes:
        raise invalid("meta.k8s.io", KINDS[verb], "", causes)
    return WriteOptions(
        manager=query.get("fieldManager") or user_agent.partition("/")[0][:LONGEST_MANAGER] or "unknown",
        dry_run=bool(query.get("dryRun")),
        field_validation=query.get("fieldValidation") or "Warn",
        force=query.get("force") in {"true", "1"},
    )


def _causes(query: Mapping[str, str], apply: bool) -> Iterator[Cause]:
    manager, validation = query.get("fieldManager", ""), query.get("fieldValidation", "")
    if apply and not manager:
        yield required("fieldManager", "is required for apply patch")
    if not apply and "force" in query:
        yield forbidden_field("force", "may not be specified for non-apply patch")
    if len(manager.encode()) > LONGEST_MANAGER:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {LONGEST_MANAGER} bytes", "fieldManager")
    yield from dry_run_causes(query.get("dryRun"))
    if validation not in FIELD_VALIDATIONS:
        yield not_supported("fieldValidation", validation, FIELD_VALIDATIONS)


def dry_run_causes(dry_run: str | list[str] | None) -> Iterator[Cause]:
    given = [dry_run] if isinstance(dry_run, str) else dry_run or []
    if any(each not in {"", "All"} for each in given):
        text = f'Unsupported value: {shown(given)}: supported values: "All"'
        yield Cause("FieldValueNotSupported", text, "dryRun")


def check_list_options(query: Mapping[str, str], watch: bool) -> None:
    """Raises ApiError 422 where parameters of a list or a watch do not go together."""
    causes = list(_watch_causes(query) if watch else _list_causes(query))
    if causes:
        raise invalid("meta.k8s.io", "ListOptions", "", causes)


def _list_causes(query: Mapping[str, str]) -> Iterator[Cause]:
    match = query.get("resourceVersionMatch", "")
    if match and not query.get("resourceVersion"):
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        yield forbidden_field("resourceVersionMatch", text)
    if match not in MATCHES:
        yield not_supported("resourceVersionMatch", match, MATCHES)
    if "sendInitialEvents" in query:
        yield forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _watch_causes(query: Mapping[str, str]) -> Iterator[Cause]:
    match, initial = query.get("resourceVersionMatch", ""), "sendInitialEvents" in query
    if match and not initial:
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield forbidden_field("resourceVersionMatch", text)
    if initial and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        yield forbidden_field("resourceVersionMatch", text)
        if match:
            yield not_supported("resourceVersionMatch", match, ["NotOlderThan"])

"""Lists in pages, and the tokens that continue them."""

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from .kinds import Kind
from .options import check_list_options
from .selectors import Selector, parse_selector
from .statuses import bad_request, expired, too_large_version
from .storage import Item, Store

SNAPSHOTS = 64
EXPIRED_TEXT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True)
class Page:
    """Some objects, the resourceVersion they are of, and how to get the rest."""

    items: list[Item]
    version: int
    token: str = ""
    remaining: int | None = None


def selector_of(kind: Kind, query: Mapping[str, str]) -> Selector:
    """Raises ApiError 400."""
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    return parse_selector(labels, fields, kind.storage_key, kind.selectable)


def parse_version(text: str) -> int:
    """A resourceVersion; 0 for none. Raises ApiError 400."""
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def check_known(store: Store, version: int) -> None:
    """Raises ApiError 504 for a version that is yet to come."""
    if version > store.version:
        raise too_large_version(version, store.version)


class Lister:
    """Pages of one first request come from one snapshot, as long as it is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[str, list[Item]] = OrderedDict()

    def page(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> Page:
        """Raises ApiError: 400 or 422 for bad parameters, 504 for a version to come, 410 for one that is too old."""
        selector = selector_of(kind, query)
        collection = self._store.collection(kind.storage_key)
        limit = _limit(query.get("limit", ""))
        token = query.get("continue", "")
        if token:
            return self._continued(kind, namespace, token, limit, query)
        self._check_version(query)
        items = collection.items(namespace)
        if not selector.everything:
            items = [item for item in items if selector.matches(item.object)]
        return self._cut(items, self._store.version, 0, limit, _scope(kind, namespace, query), selector.everything)

    def _check_version(self, query: Mapping[str, str]) -> None:
        check_list_options(query, watch=False)
        match, version = query.get("resourceVersionMatch", ""), parse_version(query.get("resourceVersion", ""))
        check_known(self._store, version)
        if match == "Exact" and version < self._store.version:
            raise expired("The resourceVersion for the provided list is too old.")

    def _cut(self, items: list[Item], version: int, start: int, limit: int, scope: str, counted: bool) -> Page:
        end = start + limit if limit else len(items)
        if end >= len(items):
            return Page(items[start:], version)
        key = f"{version}:{scope}"
        self._snapshots[key] = items
        self._snapshots.move_to_end(key)
        if len(self._snapshots) > SNAPSHOTS:
            self._snapshots.popitem(last=False)
        raw = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": end}, separators=(",", ":"))
        token = base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")
        return Page(items[start:end], version, token, len(items) - end if counted else None)

    def _continued(self, kind: Kind, namespace: str, token: str, limit: int, query: Mapping[str, str]) -> Page:
        try:
            raw = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, start = int(raw["rv"]), int(raw["start"])
        except (ValueError, KeyError, TypeError):
            raise bad_request("continue key is not valid: invalid continue token") from None
        scope = _scope(kind, namespace, query)
        items = self._snapshots.get(f"{version}:{scope}")
        if items is None:
            raise expired(EXPIRED_TEXT)
        return self._cut(items, version, start, limit, scope, not query.get("labelSelector"))


def _limit(text: str) -> int:
    try:
        return max(0, int(text or 0))
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _scope(kind: Kind, namespace: str, query: Mapping[str, str]) -> str:
    parts = (*kind.storage_key, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    return "\n".join(parts)

"""Objects on disk, so that a cluster has them again after a restart.

A write reaches the file within `DELAY_S`: what is lost when the process is killed is at most that. What belongs to
processes that end with the cluster, and what others write again by themselves, is not kept.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .storage import Event, Key, Store

Object = dict[str, Any]

DELAY_S = 0.05
NOT_KEPT: frozenset[Key] = frozenset(
    {
        ("", "pods"),
        ("", "nodes"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("coordination.k8s.io", "leases"),
    }
)
_FIRST: tuple[Key, ...] = (("", "namespaces"), ("apiextensions.k8s.io", "customresourcedefinitions"))
"""What others need to exist: restored before them, in this order."""

_TABLE = """
create table if not exists objects(
  "group" text, plural text, namespace text, name text, body text, primary key("group", plural, namespace, name)
) without rowid
"""


class Journal:
    """Follows every write of a store. Needs a running event loop once it follows."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # it holds Secrets
        self._database = sqlite3.connect(file)
        self._database.execute("pragma journal_mode=wal")
        self._database.execute(_TABLE)
        self._pending: dict[tuple[Key, str, str], Object | None] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._store: Store | None = None

    def restore(self, store: Store) -> bool:
        """Put what was kept into an empty store; False where nothing was."""
        kept = sorted(self._kept(), key=lambda each: _FIRST.index(each[0]) if each[0] in _FIRST else len(_FIRST))
        for key, namespace, name, body in kept:
            store.put(key, namespace, name, body)
        return bool(kept)

    def _kept(self) -> Iterator[tuple[Key, str, str, Object]]:
        rows = self._database.execute('select "group", plural, namespace, name, body from objects')
        for group, plural, namespace, name, body in rows.fetchall():
            yield (group, plural), namespace, name, json.loads(body)

    def follow(self, store: Store) -> None:
        """Keep every write from now on."""
        self._store = store
        store.changed.append(self._written)

    def _written(self, key: Key, event: Event) -> None:
        if key in NOT_KEPT:
            return
        obj = event.item.object
        place = (key, event.namespace, str(obj["metadata"]["name"]))
        self._pending[place] = None if event.type == "DELETED" else obj
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(DELAY_S, self.flush)

    def flush(self) -> None:
        """Write what is pending."""
        self._flushing = None
        pending, self._pending = self._pending, {}
        with self._database:
            self._database.executemany(
                'delete from objects where "group" = ? and plural = ? and namespace = ? and name = ?',
                [(*key, namespace, name) for (key, namespace, name), obj in pending.items() if obj is None],
            )
            self._database.executemany(
                "insert or replace into objects values (?, ?, ?, ?, ?)",
                [(*key, ns, name, json.dumps(obj)) for (key, ns, name), obj in pending.items() if obj is not None],
            )

    def close(self) -> None:
        """Write what is pending; nothing after it is kept."""
        if self._store is not None:
            self._store.changed.remove(self._written)
        if self._flushing is not None:
            self._flushing.cancel()
        self.flush()
        self._database.close()

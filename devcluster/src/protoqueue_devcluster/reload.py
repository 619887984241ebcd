"""`protoqueue up --reload`: restart workers when their source changes."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from protoqueue_devcluster.kube.client import PODS, ApiError, KubeClient

_LOOK_S = 0.5
_SUFFIXES = (".py", ".js", ".mjs", ".ts")
_LEFT_OUT = {"__pycache__", "node_modules"}

Snapshot = Mapping[Path, tuple[int, int]]
"""When each source file was changed, and its size."""


class Reloader:
    """Restarts the workers whenever a source file under `root` was changed, added or removed.

    Ignores `data`, hidden folders, virtual environments and installed packages.
    """

    def __init__(self, client: KubeClient, root: Path, data: Path, say: Callable[[str], None]) -> None:
        self._client, self._root, self._data, self._say = client, root, data, say

    async def run(self, known: Snapshot) -> None:
        """Watch until cancelled; `known` is the source that the workers were started with."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now = await self._look()
            if now == known:
                continue
            while (later := await self._look_later()) != now:  # wait until a save of several files is complete
                now = later
            names = ", ".join(str(path) for path in changed(known, now)[:3])
            try:
                count = await self._restart()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                self._say(f"{names} changed, and the workers cannot be restarted, trying again: {error}")
                continue
            known = now
            self._say(f"{names} changed: restarting {count} {'worker' if count == 1 else 'workers'}")

    async def _look(self) -> Snapshot:
        return await asyncio.to_thread(read_sources, self._root, self._data)

    async def _look_later(self) -> Snapshot:
        await asyncio.sleep(_LOOK_S)
        return await self._look()

    async def _restart(self) -> int:
        """Delete every pod that a controller will replace, and return how many. Workers finish their tasks first."""
        count = 0
        for pod in (await self._client.list(PODS))["items"]:
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") or not any(
                ref.get("controller") for ref in meta.get("ownerReferences", ())
            ):
                continue
            try:
                await self._client.delete(PODS, meta["name"], meta["namespace"], meta["uid"])
            except ApiError as error:
                if error.code not in (404, 409):  # deleted meanwhile
                    raise
            else:
                count += 1
        return count


def read_sources(root: Path, data: Path) -> Snapshot:
    """The source files below `root`, by relative path."""
    found: dict[Path, tuple[int, int]] = {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _LEFT_OUT and here / name != data
            and not (here / name / "pyvenv.cfg").exists()
        ]  # fmt: skip
        for name in files:
            if name.endswith(_SUFFIXES):
                try:
                    state = (here / name).stat()
                except OSError:  # gone meanwhile
                    continue
                found[(here / name).relative_to(root)] = (state.st_mtime_ns, state.st_size)
    return found


def changed(before: Snapshot, after: Snapshot) -> list[Path]:
    """Paths that were added, removed or changed, sorted. Pure."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

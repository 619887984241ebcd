"""Keeping the processes of a cluster running."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.processes import Command, Process, spawn, wait_ready

log = logging.getLogger(__name__)

_STABLE_AFTER_S = 60.0
_LONGEST_DELAY_S = 30.0


class ComponentLost(Exception):
    """A process ended that the others cannot do without; the message says which and where its log is."""


@dataclass(frozen=True)
class Component:
    """A process to keep running. One that is `essential` holds state that is lost with it, so it is not restarted."""

    command: Command
    ready: Callable[[], Awaitable[bool]]
    essential: bool = False
    grace_s: float = 10.0


class Supervised:
    """One component at work: restarted with growing delays when it ends by itself."""

    def __init__(
        self, component: Component, lifeline: Lifeline, lost: "asyncio.Future[str]", start_timeout_s: float = 60.0
    ) -> None:
        self._component, self._lifeline, self._lost = component, lifeline, lost
        self._start_timeout_s = start_timeout_s
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def process(self) -> Process:
        """The process running now, or the last one while it is being restarted."""
        assert self._process is not None, "not started"
        return self._process

    async def start(self) -> None:
        """Start and wait until ready; raises StartFailed."""
        await self._start()
        self._watch = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._process is not None:
            await self._process.stop(self._component.grace_s)

    async def _start(self) -> None:
        self._process = await spawn(self._component.command, self._lifeline)
        await wait_ready(self._process, self._component.ready, self._start_timeout_s)

    async def _keep_running(self) -> None:
        name = self._component.command.name
        delay_s = 0.5
        while True:
            started = time.monotonic()
            code = await self.process.wait()
            if self._component.essential:
                if not self._lost.done():
                    self._lost.set_result(f"{name} ended with code {code}; its log is {self.process.log}")
                return
            if time.monotonic() - started > _STABLE_AFTER_S:
                delay_s = 0.5
            log.warning("%s ended code=%d, restarting in %g s log=%s", name, code, delay_s, self.process.log)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            try:
                self._process = await spawn(self._component.command, self._lifeline)
            except OSError as error:  # its old process stays in place, so the next round tries again
                log.warning("%s cannot be started error=%s", name, error)

"""Leader election: one operator acts, the others watch and stand by; who it is, `leader_lease` decides."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone, Kubernetes
from protoqueue_operator.runtime.leader_lease import RENEW_S, SURRENDER_S, LeaseSeen, held, may_take, released, see

logger = logging.getLogger(__name__)

_RESIGN_S = 2.0


class Election:
    """`won` is called once; `lost` once after that, upon which the caller must stop acting at once."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        lease: Key,
        identity: str,
        won: Callable[[], None],
        lost: Callable[[], None],
        may_stand: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_stand` says whether this one could act: while it could not, it does not ask for the Lease."""
        self._kubernetes = kubernetes
        self._lease = lease
        self._identity = identity
        self._won = won
        self._lost = lost
        self._may_stand = may_stand
        self._body: Mapping[str, Any] | None = None
        """The Lease as it was last read or written."""
        self._seen: LeaseSeen | None = None
        self._logged_holder: str | None = None
        self.is_leader = False

    async def run(self) -> None:
        """Stand for election, then hold the office until it is lost."""
        while not (self._may_stand() and await self._try()):
            self._log_standing_by()
            await asyncio.sleep(RENEW_S)
        logger.info("leading: lease=%s identity=%s", self._lease, self._identity)
        self.is_leader = True
        self._won()
        await self._hold()
        self.is_leader = False
        logger.warning("leadership lost: lease=%s identity=%s; this replica stands by", self._lease, self._identity)
        self._lost()

    async def resign(self) -> None:
        """Let another begin at once rather than after LEASE_S, unless the API server takes its time."""
        if not self.is_leader or self._body is None:
            return
        self.is_leader = False
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(_RESIGN_S):
                await self._kubernetes.put_lease(self._lease, released(self._body, _now()))

    async def _hold(self) -> None:
        """Renew; returns when the Lease is another's, or was not renewed for SURRENDER_S."""
        renewed = started = time.monotonic()
        while time.monotonic() - renewed < SURRENDER_S:
            # An answer that took its time has been pause enough.
            await asyncio.sleep(max(0.0, started + RENEW_S - time.monotonic()))
            started = time.monotonic()
            # An answer that comes after the surrender is of no use.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, SURRENDER_S - (started - renewed))):
                    if await self._try():
                        renewed = started
            if self._seen and self._seen.holder != self._identity:
                return

    async def _try(self) -> bool:
        """Take or renew the Lease; False where it is another's, or the API server did not answer."""
        try:
            if not (self.is_leader and self._body and await self._renewed_at_once()):
                await self._take()
        except (Conflict, _Held):
            return False
        except ApiError as error:
            logger.warning("lease not written: lease=%s error=%s", self._lease, error)
            return False
        return True

    async def _renewed_at_once(self) -> bool:
        """Whether what was last written is still there, so that one request was enough. Raises ApiError."""
        try:
            await self._write()
        except (Conflict, Gone):
            return False
        return True

    async def _take(self) -> None:
        """Raises _Held, Conflict and ApiError."""
        try:
            self._observe(await self._kubernetes.get(self._lease))
        except Gone:
            # A deleted Lease is not free: its holder, who does not know yet, recreates it and goes on acting.
            if self._seen and not may_take(self._seen, self._identity, time.monotonic()):
                raise _Held from None
            self._observe(await self._kubernetes.create_lease(self._lease, held({}, self._identity, _now())))
            return
        assert self._seen
        if not may_take(self._seen, self._identity, time.monotonic()):
            raise _Held
        await self._write()

    async def _write(self) -> None:
        assert self._body is not None
        self._observe(await self._kubernetes.put_lease(self._lease, held(self._body, self._identity, _now())))

    def _observe(self, body: Mapping[str, Any]) -> None:
        self._body = body
        holder = (body.get("spec") or {}).get("holderIdentity") or ""
        self._seen = see(self._seen, holder, body["metadata"]["resourceVersion"], time.monotonic())

    def _log_standing_by(self) -> None:
        """Once for each leader."""
        holder = self._seen.holder if self._seen else ""
        if self._seen and holder not in ("", self._identity, self._logged_holder):
            self._logged_holder = holder
            logger.info("standing by: lease=%s holder=%s identity=%s", self._lease, holder, self._identity)


class _Held(Exception):
    """The Lease is another's."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

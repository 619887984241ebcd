"""Leader election on a Lease: one operator acts, the others watch and wait."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from protoqueue_operator.adapters.kubernetes import ApiError, Conflict, Gone, Kubernetes
from protoqueue_operator.core.leadership import LEASE_S, RENEW_S, SURRENDER_S, LeaseSeen, may_take, see
from protoqueue_operator.core.resources import Key

logger = logging.getLogger(__name__)


class Election:
    """`won` is called once; `lost` once after that, and whoever is told must stop acting at once."""

    def __init__(
        self, kubernetes: Kubernetes, lease: Key, identity: str, won: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        self._kubernetes = kubernetes
        self._lease = lease
        self._identity = identity
        self._won = won
        self._lost = lost
        self._seen: LeaseSeen | None = None
        self.is_leader = False

    async def run(self) -> None:
        """Stand for election, then hold the office until it is lost."""
        while not await self._try():  # noqa: ASYNC110 -- a Lease is looked at; nothing would set an event
            await asyncio.sleep(RENEW_S)
        logger.info("leading: lease=%s identity=%s", self._lease, self._identity)
        self.is_leader = True
        self._won()
        renewed = time.monotonic()
        while time.monotonic() - renewed < SURRENDER_S:
            await asyncio.sleep(RENEW_S)
            started = time.monotonic()
            # An answer that comes after the surrender is of no use.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, SURRENDER_S - (started - renewed))):
                    if await self._try():
                        renewed = started
            if self._seen and self._seen.holder != self._identity:
                break
        self.is_leader = False
        logger.error("leadership lost: lease=%s; this replica stops", self._lease)
        self._lost()

    async def resign(self) -> None:
        """Let another begin at once rather than after LEASE_S, unless the API server takes its time."""
        if not self.is_leader or self._seen is None:
            return
        self.is_leader = False
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(RENEW_S):
                await self._kubernetes.put_lease(self._lease, "", self._seen.version, _now(), LEASE_S)

    async def _try(self) -> bool:
        """Take or renew the Lease; False where it is another's, or the API server did not answer."""
        try:
            try:
                body = await self._kubernetes.get(self._lease)
            except Gone:
                # Deleted is not free: its holder, who does not know yet, writes it anew and acts on meanwhile.
                if self._seen and not may_take(self._seen, self._identity, time.monotonic()):
                    return False
                body = await self._kubernetes.create_lease(self._lease, self._identity, _now(), LEASE_S)
            self._observe(body)
            assert self._seen
            if not may_take(self._seen, self._identity, time.monotonic()):
                return False
            self._observe(
                await self._kubernetes.put_lease(self._lease, self._identity, self._seen.version, _now(), LEASE_S)
            )
        except Conflict:
            return False
        except ApiError as error:
            logger.warning("lease not written: lease=%s error=%s", self._lease, error)
            return False
        return True

    def _observe(self, body: dict[str, dict[str, str]]) -> None:
        holder = body["spec"].get("holderIdentity") or ""
        self._seen = see(self._seen, holder, body["metadata"]["resourceVersion"], time.monotonic())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

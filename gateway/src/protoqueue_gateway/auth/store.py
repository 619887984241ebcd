"""The valid keys, read periodically from the Secrets."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from protoqueue_gateway.auth.keys import Key, UnusableEntry, find_key, parse_key
from protoqueue_gateway.kubernetes.client import Kubernetes
from protoqueue_gateway.kubernetes.errors import KubernetesError
from protoqueue_gateway.kubernetes.secrets import read_key_entries

log = logging.getLogger(__name__)

REREAD_S = 5.0
"""A change takes effect within ten seconds: this, plus the time an answer may take."""


class KeyStore:
    """While the API server does not answer, the keys read last stay valid."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._keys: Mapping[str, Key] = {}
        self._told: set[tuple[str, str]] = set()
        self._revoked: dict[str, asyncio.Event] = {}
        self.is_read = False
        """Whether the Secrets were read at least once."""

    def find(self, text: str) -> Key | None:
        """The key that a request presents, if it is valid."""
        return find_key(self._keys, text, datetime.now(UTC))

    def of_id(self, key_id: str) -> Key | None:
        """The key of this id, if it is valid."""
        key = self._keys.get(key_id)
        return None if key is None or key.is_expired(datetime.now(UTC)) else key

    def revocation(self, key: Key) -> asyncio.Event:
        """Set once the key is no longer valid, or its permissions change."""
        return self._revoked.setdefault(key.id, asyncio.Event())

    async def run(self) -> None:
        """Read them until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REREAD_S):
                    await self.read()
            except (KubernetesError, TimeoutError) as error:
                log.warning("the API keys could not be read; those that are known stay in force: %s", error)
            await asyncio.sleep(REREAD_S if self.is_read else 0.5)

    async def read(self) -> None:
        """Raises KubernetesError."""
        keys: dict[str, Key] = {}
        for key_id, entry in (await read_key_entries(self._kubernetes)).items():
            try:
                keys[key_id] = parse_key(key_id, entry)
            except UnusableEntry as error:
                if (key_id, str(error)) not in self._told:
                    self._told.add((key_id, str(error)))
                    log.warning("an API key cannot be used: %s", error, extra={"key": key_id})
        now = datetime.now(UTC)
        for key_id, before in self._keys.items():
            after = keys.get(key_id)
            if (after != before or before.is_expired(now)) and (event := self._revoked.pop(key_id, None)):
                event.set()
        self._keys, self.is_read = keys, True

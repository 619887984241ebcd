"""Where NATS is and who we are: arguments first, then the environment."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_URL = "nats://127.0.0.1:4222"


@dataclass(frozen=True)
class ConnectionOptions:
    """`creds` and `ca` are paths of files."""

    url: str = DEFAULT_URL
    creds: str | None = None
    ca: str | None = None
    name: str = "protoqueue"

    @classmethod
    def read(
        cls,
        url: str | None = None,
        creds: str | None = None,
        ca: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "ConnectionOptions":
        """Fill in from `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `PROTOQUEUE_NATS_CREDS` and `PROTOQUEUE_NATS_CA`."""
        return cls(
            url=url or environment.get("PROTOQUEUE_NATS_URL") or environment.get("NATS_URL") or DEFAULT_URL,
            creds=creds or environment.get("PROTOQUEUE_NATS_CREDS") or None,
            ca=ca or environment.get("PROTOQUEUE_NATS_CA") or None,
        )

    @property
    def servers(self) -> list[str]:
        """The URL may name several servers, separated by commas."""
        return [server.strip() for server in self.url.split(",") if server.strip()]

    def credentials(self) -> dict[str, Any]:
        """The arguments nats-py takes for them; raises OSError for a file that cannot be read."""
        arguments: dict[str, Any] = {}
        if self.creds:
            arguments["user_credentials"] = self.creds
        if self.ca:
            arguments["tls"] = ssl.create_default_context(cafile=self.ca)
        return arguments

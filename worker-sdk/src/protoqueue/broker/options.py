"""Where NATS is and who we are: arguments first, then the environment."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from protoqueue.servers import split_servers

DEFAULT_URL = "nats://127.0.0.1:4222"


@dataclass(frozen=True)
class ConnectionOptions:
    """`creds` and `ca` are paths of files; `secret_dir` holds files named like the keys of a connection Secret."""

    url: str = DEFAULT_URL
    creds: str | None = None
    ca: str | None = None
    secret_dir: str | None = None
    name: str = "protoqueue"

    @classmethod
    def read(
        cls,
        url: str | None = None,
        creds: str | None = None,
        ca: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "ConnectionOptions":
        """Fill in from `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `…_NATS_CREDS`, `…_NATS_CA` and `…_NATS_SECRET_DIR`."""
        return cls(
            url=url or environment.get("PROTOQUEUE_NATS_URL") or environment.get("NATS_URL") or DEFAULT_URL,
            creds=creds or environment.get("PROTOQUEUE_NATS_CREDS") or None,
            ca=ca or environment.get("PROTOQUEUE_NATS_CA") or None,
            secret_dir=environment.get("PROTOQUEUE_NATS_SECRET_DIR") or None,
        )

    @property
    def servers(self) -> list[str]:
        """The URL may name several servers, separated by commas. Raises ValueError."""
        return list(split_servers(self.url))

    def credentials(self) -> dict[str, Any]:
        """The arguments nats-py takes for them; raises OSError for a file that cannot be read.

        All but certificates are read anew each time a connection is made, so that a rotated Secret is taken up.
        """
        arguments: dict[str, Any] = {}
        if creds := self.creds or self._file("creds"):
            Path(creds).open("rb").close()  # nats-py looks only when a server asks for it
            arguments["user_credentials"] = creds
        if nkey := self._file("nkey"):
            arguments["nkeys_seed"] = nkey
        for key in ("token", "user", "password"):
            if path := self._file(key):
                arguments[key] = partial(_text, path)
        if tls := self._tls():
            arguments["tls"] = tls
        return arguments

    def _tls(self) -> ssl.SSLContext | None:
        ca, certificate, key = self.ca or self._file("ca.crt"), self._file("tls.crt"), self._file("tls.key")
        if not ca and not certificate:
            return None
        try:
            context = ssl.create_default_context(cafile=ca)
            if certificate:
                context.load_cert_chain(certificate, key)
        except OSError as error:  # which does not say of which file it speaks
            raise OSError(f"{', '.join(filter(None, (ca, certificate, key)))}: {error}") from error
        return context

    def _file(self, key: str) -> str | None:
        """Where the Secret's key is mounted, if it has it and it holds something."""
        path = Path(self.secret_dir, key) if self.secret_dir else None
        return str(path) if path and path.is_file() and path.stat().st_size else None


def _text(path: str) -> str:
    return Path(path).read_text().strip()

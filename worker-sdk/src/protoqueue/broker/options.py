"""Where NATS is and who we are: arguments first, then the environment."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from protoqueue.protocol.servers import inbox_prefix_of, is_inbox_prefix, split_servers, user_of

DEFAULT_URL = "nats://127.0.0.1:4222"


@dataclass(frozen=True)
class ConnectionOptions:
    """`creds` and `ca` are paths of files; `secret_dir` holds files named like the keys of a connection Secret.

    `inbox_prefix` is the beginning of the subjects on which answers arrive; None takes the user's own.
    """

    url: str = DEFAULT_URL
    creds: str | None = None
    ca: str | None = None
    secret_dir: str | None = None
    name: str = "protoqueue"
    inbox_prefix: str | None = None

    @classmethod
    def read(
        cls,
        url: str | None = None,
        creds: str | None = None,
        ca: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "ConnectionOptions":
        """Fill in from `PROTOQUEUE_NATS_URL` (else `NATS_URL`), `…_CREDS`, `…_CA`, `…_SECRET_DIR`, `…_INBOX_PREFIX`."""
        return cls(
            url=url or environment.get("PROTOQUEUE_NATS_URL") or environment.get("NATS_URL") or DEFAULT_URL,
            creds=creds or environment.get("PROTOQUEUE_NATS_CREDS") or None,
            ca=ca or environment.get("PROTOQUEUE_NATS_CA") or None,
            secret_dir=environment.get("PROTOQUEUE_NATS_SECRET_DIR") or None,
            inbox_prefix=environment.get("PROTOQUEUE_NATS_INBOX_PREFIX") or None,
        )

    @property
    def servers(self) -> list[str]:
        """The URL may name several servers, separated by commas. Raises ValueError."""
        return list(split_servers(self.url))

    def inboxes(self) -> str:
        """What the inboxes of this connection begin with, so that permissions can name them: `_INBOX_jo` of a user jo.

        Without a user's name, as with a key or a token, it is `_INBOX` unless something else is stated. Raises
        ValueError for what is no subject, and OSError for a file that cannot be read.
        """
        stated = self.inbox_prefix or self._read("inboxPrefix")
        if stated is None:
            return inbox_prefix_of(self._read("user") or user_of(self.servers))
        if not is_inbox_prefix(stated):
            raise ValueError(f"the inbox prefix {stated!r} is not a valid subject: write tokens such as _INBOX_jo")
        return stated

    def credentials(self) -> dict[str, Any]:
        """The arguments nats-py takes for them; raises OSError for a file that cannot be read.

        All but certificates are read again for each connection, so that a rotated Secret takes effect.
        """
        if self.secret_dir and not Path(self.secret_dir).is_dir():
            raise OSError(f"PROTOQUEUE_NATS_SECRET_DIR={self.secret_dir!r}: no such directory")
        arguments: dict[str, Any] = {}
        if creds := self.creds or self._file("creds"):
            try:
                Path(creds).open("rb").close()  # nats-py checks only when a server asks for it
            except OSError as error:
                raise OSError(
                    f"the credentials file (creds or PROTOQUEUE_NATS_CREDS) cannot be read: {error}"
                ) from error
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
        except OSError as error:  # it does not name the file
            raise OSError(f"{', '.join(filter(None, (ca, certificate, key)))}: {error}") from error
        return context

    def _read(self, key: str) -> str | None:
        path = self._file(key)
        return (_text(path) or None) if path else None

    def _file(self, key: str) -> str | None:
        """The path at which the Secret's key is mounted, if it exists and is not empty."""
        path = Path(self.secret_dir, key) if self.secret_dir else None
        return str(path) if path and path.is_file() and path.stat().st_size else None


def _text(path: str) -> str:
    return Path(path).read_text().strip()
